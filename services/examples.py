"""What the OpenAPI document shows of requests, responses and streams; the tests hold them to the models."""

from __future__ import annotations

from pydantic import JsonValue

SEARCH_REQUESTS: list[JsonValue] = [
    {"query": "How do I write a custom migration operation?"},
    {
        "query": "memory safety without a garbage collector",
        "collection": "docs",
        "k": 5,
        "ranking": {"fusion": {"method": "rrf", "k": 60, "weights": {"lexical": 1, "dense": 1}}},
        "budget_ms": 300,
        "explain": True,
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
    "generation": "docs@42",
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
