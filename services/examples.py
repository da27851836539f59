"""What the OpenAPI document shows of requests, responses and streams; the tests hold them to the models."""

from __future__ import annotations

from pydantic import JsonValue

FILTERS: JsonValue = {
    "type": "and",
    "filters": [{"type": "eq", "key": "lang", "value": "zh"}, {"type": "gte", "key": "year", "value": 2024}],
}

SEARCH_REQUESTS: list[JsonValue] = [
    {"query": "How do I write a custom migration operation?"},
    {
        "query": "memory safety without a garbage collector",
        "collection": "docs",
        "k": 5,
        "ranking": {"fusion": {"method": "rrf", "k": 60, "weights": {"lexical": 1, "dense": 1}}, "diversity": 0.3},
        "budget_ms": 300,
        "explain": True,
    },
    {
        "query": "memory safety",
        "filters": FILTERS,
        "group_by": "document",
        "group_size": 3,
        "facets": ["lang", "year"],
    },
]

SEARCH_RESPONSE: JsonValue = {
    "results": [
        {
            "passage_id": "howto/writing-migrations.txt#3",
            "document_id": "howto/writing-migrations.txt",
            "score": 0.91,
            "scored_by": "rerank",
            "text": "You can write your own operation by subclassing Operation.",
            "offsets": [1200, 1258],
            "title": "How to create database migrations",
            "headings": ["Writing your own"],
            "page": None,
            "context": "",
            "source": "howto/writing-migrations.txt",
            "metadata": {},
            "explain": {
                "lexical": {"rank": 4, "score": 11.2},
                "dense": {"rank": 1, "score": 0.83},
                "fused": {"rank": 1, "score": 0.032},
                "rerank": {"rank": 1, "score": 0.91},
            },
        }
    ],
    "facets": {"lang": [{"value": "zh", "count": 812}, {"value": "en", "count": 77}]},
    "generation": "docs@42.1731",
    "cache": "miss",
    "degraded": [],
    "partial": False,
    "timings_ms": {"embed": 6, "lexical": 9, "dense": 11, "fuse": 1, "rerank": 140, "total": 171},
    "next_cursor": None,
}

ANSWER_REQUEST: JsonValue = {"query": "How do I write a custom migration operation?", "k": 6}

ANSWER_STREAM = (
    'event: search_results\ndata: {"generation":"docs@42","results":[],"degraded":[]}\n\n'
    'event: message\ndata: {"delta":"Subclass Operation "}\n\n'
    'event: citation\ndata: {"id":"c1","answer_span":[0,18],"passage_id":"d1#3","source_span":[133,170],'
    '"verdict":"closest"}\n\n'
    'event: final_answer\ndata: {"answer":"Subclass Operation …","citations":[],"abstained":false,'
    '"usage":{"prompt_tokens":812,"completion_tokens":61},"timings_ms":{"total":2140},'
    '"engine":"smollm2-135m-instruct","degraded":[]}\n\n'
)

FEEDBACK: list[JsonValue] = [
    {"kind": "click", "request_id": "r_1f0c5a9e77d04b21", "passage_id": "howto/writing-migrations.txt#3", "rank": 1},
    {"kind": "rating", "request_id": "r_1f0c5a9e77d04b21", "passage_id": "howto/writing-migrations.txt#3", "value": -1},
    {
        "kind": "judgement",
        "request_id": "r_1f0c5a9e77d04b21",
        "document_id": "howto/writing-migrations.txt",
        "value": 2,
    },
    {"kind": "answer", "request_id": "r_77d04b211f0c5a9e", "value": 1, "comment": "Short, and right."},
]

FEEDBACK_TAKEN: JsonValue = {
    "request_id": "r_1f0c5a9e77d04b21",
    "kind": "click",
    "passage_id": "howto/writing-migrations.txt#3",
    "document_id": "howto/writing-migrations.txt",
    "rank": 1,
    "generation": "docs@42.1731",
}

DOCUMENT: JsonValue = {
    "text": "Turn the key twice. Then pull the lever.",
    "title": "The gate",
    "acl": ["group:eng"],
    "metadata": {"lang": "en", "year": 2026, "tags": ["gate", "keys"]},
}

BULK = (
    '{"index":{"_id":"d1","version":7}}\n'
    '{"text":"Turn the key twice.","title":"The gate","acl":["group:eng"],"metadata":{"lang":"en"}}\n'
    '{"delete":{"_id":"d2"}}\n'
)

BULK_RESPONSE: JsonValue = {
    "took": 31,
    "errors": True,
    "items": [
        {"index": {"_id": "d1", "status": 201, "version": 7}},
        {
            "delete": {
                "_id": "d2",
                "status": 404,
                "error": {"code": "document_not_found", "detail": "line 3: there is no such document"},
            }
        },
    ],
    "generation": "docs@42.1732",
}

COLLECTION: JsonValue = {
    "encoder": "bge-small-en-v1.5",
    "fields": {"lang": "keyword", "year": "number", "published": "date", "draft": "boolean"},
    "synonyms": [["k8s", "kubernetes"]],
}
