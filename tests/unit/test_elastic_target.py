"""Elasticsearch as a target: what it is asked, what is made of its replies, and every failure in plain words."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from retrieval.errors import (
    CollectionNotFound,
    Conflict,
    Forbidden,
    InvalidRequest,
    Overloaded,
    RiddleError,
    Unauthorized,
    Unavailable,
)
from retrieval.types import Document, EncoderSpec, Role, Vectors
from services.targets.elastic import ElasticTarget, open_elastic
from services.targets.elastic_address import parse_address
from services.targets.elastic_cluster import TRIES, ElasticCluster
from services.targets.elastic_fields import text_fields

ADDRESS = "elasticsearch:http://localhost:9200/pages"
MAPPING = {
    "title": {"type": "text", "analyzer": "english"},
    "meta": {"properties": {"author": {"type": "text"}}},
    "parts": {"type": "nested", "properties": {"inner": {"type": "text"}}},
    "body": {"type": "text", "fields": {"exact": {"type": "keyword"}}},
    "doc_id": {"type": "keyword"},
    "emb": {"type": "dense_vector", "dims": 2, "similarity": "dot_product"},
}


class Cluster:
    """A cluster with one index, as far as a target asks of it; ``replies`` go before what it would answer itself."""

    def __init__(self, hits: Sequence[Mapping[str, Any]] = (), knn: Sequence[Mapping[str, Any]] = ()) -> None:
        self.hits, self.knn = hits, knn
        self.replies: list[httpx.Response] = []
        self.asked: list[tuple[str, str, Any]] = []
        self.stored: dict[str, Any] = {}
        self.pauses: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path, content = request.url.path, request.content.decode()
        body = (
            [json.loads(line) for line in content.splitlines()]
            if path.endswith("_bulk")
            else content and json.loads(content)
        )
        self.asked.append((request.method, path, body))
        if self.replies:
            return self.replies.pop(0)
        match request.method, path.rpartition("/")[2]:
            case "GET", "":
                return httpx.Response(200, json={"version": {"number": "8.19.21", "lucene_version": "9.12"}})
            case "GET", "_mapping":
                return httpx.Response(200, json={"pages-1": {"mappings": {"properties": MAPPING}}})
            case "GET", "_settings":
                return httpx.Response(200, json={"pages-1": {"settings": {"index": {"uuid": "abcdefghij"}}}})
            case "GET", "_count":
                return httpx.Response(200, json={"count": 3})
            case "POST", "_search":
                hits = self.knn if "knn" in body else self.hits
                return httpx.Response(200, json={"took": 4, "_shards": {"failed": 0}, "hits": {"hits": list(hits)}})
            case "POST", "_bulk":
                pairs = list(zip(body[::2], body[1::2], strict=True))
                self.stored |= {action["index"]["_id"]: row for action, row in pairs}
                items = [{"index": {"_id": action["index"]["_id"], "status": 201}} for action, _ in pairs]
                return httpx.Response(200, json={"errors": False, "items": items})
        return httpx.Response(200, json={})

    def bodies(self, last: str) -> list[Any]:
        return [body for _, path, body in self.asked if path.rpartition("/")[2] == last]


class Encoder:
    """Two dimensions, whatever it reads."""

    spec = EncoderSpec("two", 2, 8, ("*",))

    def encode(self, texts: Sequence[str], role: Role) -> Vectors:
        return np.tile(np.array([0.6, 0.8], np.float32), (len(texts), 1))


def hit(name: str, score: float, **source: Any) -> dict[str, Any]:
    return {"_id": name, "_score": score, "_source": source}


@contextmanager
def target(cluster: Cluster, address: str = ADDRESS, encoder: Encoder | None = None) -> Iterator[ElasticTarget]:
    parsed = parse_address(address)
    auth = (parsed.user, parsed.password) if parsed.user else None
    with httpx.Client(transport=httpx.MockTransport(cluster), auth=auth) as http:
        yield ElasticTarget(parsed, ElasticCluster(parsed, http, cluster.pauses.append), encoder)


def test_an_address_says_where_and_how() -> None:
    found = parse_address(
        "elasticsearch:https://el%40stic:p%2Fw@search.example:9243/es/pages?fields=title^2,body&id=doc_id&vector=emb"
        "&encoder=e5&type=most_fields"
    )
    assert (found.url, found.index) == ("https://search.example:9243/es", "pages")
    assert (found.user, found.password) == ("el@stic", "p/w")
    assert (found.fields, found.type) == (("title^2", "body"), "most_fields")
    assert (found.id_field, found.vector_field, found.encoder) == ("doc_id", "emb", "e5")
    assert "p/w" not in repr(found)
    assert parse_address("elasticsearch:http://[::1]:9200/a,b-*").url == "http://[::1]:9200"


@pytest.mark.parametrize(
    "bad",
    [
        "elasticsearch:localhost:9200/pages",
        "elasticsearch:http://localhost:9200",
        "elasticsearch:http://localhost:9200/Pages",
        "elasticsearch:http://localhost:9200/_search",
        "elasticsearch:http://u:secret@localhost:99999/pages",
        "elasticsearch:http://u:secret@localhost:9200/pages?size=10",
        "elasticsearch:http://u:secret@localhost:9200/pages?type=fuzzy",
    ],
)
def test_an_address_that_cannot_be_read_is_refused_without_its_password(bad: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_address(bad)
    assert "secret" not in refused.value.detail


def test_a_search_asks_all_text_fields_and_keeps_the_clusters_order() -> None:
    cluster = Cluster([hit("d1", 7.5, title="T", body="text of it"), hit("d2", 3.25)])
    with target(cluster) as index:
        found = index.search("static files", 20)
    assert found.rankings == {"lexical": (("d1", 7.5), ("d2", 3.25)), "final": (("d1", 7.5), ("d2", 3.25))}
    [body] = cluster.bodies("_search")
    assert body == {
        "size": 20,
        "_source": ["title", "body"],
        "query": {
            "multi_match": {
                "query": "static files",
                "fields": ["title", "meta.author", "body"],
                "type": "best_fields",
            }
        },
    }
    first = found.shown[0]
    assert (first.document_id, first.title, first.text, first.stages["lexical"]) == ("d1", "T", "text of it", (1, 7.5))
    assert found.timings_ms["lexical"] == 4
    assert found.timings_ms["client"] > 0
    assert found.generation == "pages@abcdefgh"


def test_fields_can_be_named_and_weighted_and_must_be_there() -> None:
    cluster = Cluster()
    with target(cluster, f"{ADDRESS}?fields=title^3,body.exact,met*") as index:
        assert index.search("x", 5).rankings["final"] == ()
    assert cluster.bodies("_search")[0]["query"]["multi_match"]["fields"] == ["title^3", "body.exact", "met*"]
    with (
        target(cluster, f"{ADDRESS}?fields=headline") as index,
        pytest.raises(InvalidRequest, match="its text fields: title, meta"),
    ):
        index.search("x", 5)


def test_an_index_without_text_says_what_to_do() -> None:
    assert dict(text_fields({"emb": {"type": "dense_vector"}})) == {}
    cluster = Cluster()
    cluster.replies = [httpx.Response(200, json={"pages": {"mappings": {}}})]
    with target(cluster) as index, pytest.raises(InvalidRequest, match=r"no text field: name what to search"):
        index.search("x", 5)


def test_parts_of_one_document_count_once_at_the_place_of_the_best() -> None:
    parts = [hit("p1", 3, doc_id="b"), hit("p2", 2, doc_id="a"), hit("p3", 1, doc_id="b"), hit("p4", 0.5, doc_id="c")]
    cluster = Cluster(parts)
    with target(cluster, f"{ADDRESS}?id=doc_id") as index:
        found = index.search("x", 2)
    assert found.rankings["final"] == (("b", 3.0), ("a", 2.0))
    assert [each.passage_id for each in found.shown] == ["p1", "p2"]
    assert cluster.bodies("_search")[0]["size"] == 8
    cluster.hits = [hit("p1", 3, title="nameless")]
    with target(cluster, f"{ADDRESS}?id=doc_id") as index, pytest.raises(InvalidRequest, match="p1 has no doc_id"):
        index.search("x", 2)


def test_words_and_vectors_are_fused_by_ranks() -> None:
    cluster = Cluster([hit("a", 9), hit("b", 8)], [hit("b", 0.9), hit("c", 0.8)])
    with target(cluster, f"{ADDRESS}?vector=emb", Encoder()) as index:
        found = index.search("x", 3)
        told = index.describe()
    assert list(found.rankings) == ["lexical", "dense", "fused", "final"]
    assert [name for name, _ in found.rankings["fused"]] == ["b", "a", "c"]
    assert dict(found.rankings["fused"])["b"] == pytest.approx(1 / 61 + 1 / 62)
    assert found.rankings["final"] == found.rankings["fused"]
    assert found.shown[0].stages["dense"] == (1, 0.9)
    assert {"lexical", "dense", "embed", "client"} <= found.timings_ms.keys()
    knn = cluster.bodies("_search")[1]["knn"]
    assert knn == {
        "field": "emb",
        "query_vector": [pytest.approx(0.6), pytest.approx(0.8)],
        "k": 3,
        "num_candidates": 100,
    }
    assert told["vector"] == {"field": "emb", "dims": 2, "similarity": "dot_product", "index": "default"}
    assert told["encoder"] == "two"


def test_a_field_without_vectors_is_refused() -> None:
    with (
        target(Cluster(), f"{ADDRESS}?vector=body", Encoder()) as index,
        pytest.raises(InvalidRequest, match="no dense_vector"),
    ):
        index.search("x", 3)


def test_the_search_that_users_have_can_be_given_whole(tmp_path: Path) -> None:
    path = tmp_path / "search.json"
    path.write_text(
        '{"query": {"bool": {"should": [{"match": {"body": "{{query}}"}}, {"term": {"x": 1}}]}}, "size": 3}'
    )
    cluster = Cluster([hit("a", 1)])
    with target(cluster, f"{ADDRESS}?template={path}") as index:
        found = index.search('say "hi"', 50)
    assert list(found.rankings) == ["final"]
    assert cluster.bodies("_search") == [
        {"query": {"bool": {"should": [{"match": {"body": 'say "hi"'}}, {"term": {"x": 1}}]}}, "size": 50}
    ]
    for bad in ("{}", "[", '["{{query}}"]'):
        path.write_text(bad)
        with pytest.raises(InvalidRequest, match=r"search\.json"), target(cluster, f"{ADDRESS}?template={path}"):
            pass


def test_what_it_says_of_itself_holds_no_secret() -> None:
    cluster = Cluster()
    with target(cluster, "elasticsearch:http://reader:hunter2@localhost:9200/pages") as index:
        told = index.describe()
        assert index.where == "http://localhost:9200/pages"
    assert (told["kind"], told["version"], told["index"]) == ("elasticsearch", "8.19.21", "pages")
    assert (told["url"], told["documents"], told["id"]) == ("http://localhost:9200", 3, "_id")
    assert told["analyzers"] == {"title": "english", "meta.author": "default", "body": "default"}
    assert "hunter2" not in json.dumps(told)
    assert "reader" not in json.dumps(told)


def error(status: int, kind: str = "", reason: str = "") -> httpx.Response:
    return httpx.Response(status, json={"error": {"root_cause": [{"type": kind, "reason": reason}]}, "status": status})


@pytest.mark.parametrize(
    ("reply", "kind", "told"),
    [
        (error(401, "security_exception", "missing"), Unauthorized, "wants credentials"),
        (error(403, "security_exception", "no right"), Forbidden, "may not read pages: no right"),
        (error(404, "index_not_found_exception", "no such index"), CollectionNotFound, "no index is called pages"),
        (error(400, "parsing_exception", "unknown [x]"), InvalidRequest, r"unknown \[x\]"),
        (error(500, "boom", "broken"), Unavailable, "answered 500: broken"),
        (error(418), RiddleError, "answered 418"),
        (httpx.Response(200, text="<html>a proxy</html>"), Unavailable, "not as an Elasticsearch"),
        (httpx.Response(502, text="bad gateway"), Unavailable, "answered 502"),
    ],
)
def test_failures_are_said_in_plain_words(reply: httpx.Response, kind: type[RiddleError], told: str) -> None:
    cluster = Cluster()
    cluster.replies = [reply] * (TRIES if reply.status_code == 502 else 1)
    with target(cluster) as index, pytest.raises(kind, match=told):
        index.search("x", 5)


def test_wrong_credentials_are_told_from_none() -> None:
    cluster = Cluster()
    cluster.replies = [error(401)]
    with target(cluster, "elasticsearch:http://u:wrong@localhost:9200/pages") as index:
        with pytest.raises(Unauthorized, match="are not valid") as refused:
            index.describe()
        assert "wrong" not in refused.value.detail


def test_a_missing_index_names_those_that_are_there() -> None:
    cluster = Cluster()
    cluster.replies = [
        error(404),
        httpx.Response(200, json=[{"index": "wiki"}, {"index": ".kibana"}, {"index": "docs"}]),
    ]
    with target(cluster) as index, pytest.raises(CollectionNotFound, match=r"there are docs, wiki$"):
        index.search("x", 5)


def test_a_busy_cluster_is_asked_again_with_longer_pauses() -> None:
    cluster = Cluster([hit("a", 1)])
    cluster.replies = [error(429), httpx.Response(503, headers={"retry-after": "2"})]
    with target(cluster) as index:
        assert index.search("x", 5).rankings["final"] == (("a", 1.0),)
    assert cluster.pauses == [0.25, 2.0]
    cluster.replies = [error(429, "rejected", "queue full")] * TRIES
    with target(cluster) as index, pytest.raises(Overloaded, match="queue full"):
        index.search("x", 5)


def test_half_an_answer_is_none() -> None:
    for partial, told in (
        (
            {"_shards": {"failed": 1, "failures": [{"reason": {"reason": "disk"}}]}},
            "1 shards of pages did not answer: disk",
        ),
        ({"_shards": {"failed": 0}, "timed_out": True}, "not searched in time"),
    ):
        cluster = Cluster()
        with target(cluster) as index:
            index.describe()
            cluster.replies = [httpx.Response(200, json={**partial, "hits": {"hits": []}})]
            with pytest.raises(Unavailable, match=told):
                index.search("x", 5)


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (httpx.ConnectError("refused"), "is it running"),
        (httpx.ReadTimeout("too long"), "ReadTimeout"),
        (httpx.ConnectError(str(ssl.SSLCertVerificationError("CERTIFICATE_VERIFY_FAILED"))), "SSL_CERT_FILE"),
    ],
)
def test_a_cluster_that_does_not_answer_is_named(broken: httpx.TransportError, told: str) -> None:
    def fails(request: httpx.Request) -> httpx.Response:
        raise broken

    address = parse_address(ADDRESS)
    with httpx.Client(transport=httpx.MockTransport(fails)) as http:
        index = ElasticTarget(address, ElasticCluster(address, http))
        with pytest.raises(Unavailable, match=f"at http://localhost:9200 .*{told}"):
            index.search("x", 5)


def documents(count: int, text: str = "some text of it") -> Iterator[Document]:
    return (Document(f"d{place}", f"{text} {place}", f"T{place}") for place in range(count))


def test_documents_are_loaded_in_batches_under_their_own_ids() -> None:
    cluster = Cluster()
    with target(cluster) as index:
        assert index.load(documents(2500)) == 2500
    assert len(cluster.stored) == 2500
    assert cluster.stored["d7"] == {"document_id": "d7", "title": "T7", "text": "some text of it 7"}
    assert [len(body) // 2 for body in cluster.bodies("_bulk")] == [1000, 1000, 500]
    created = next(body for method, _, body in cluster.asked if method == "PUT")
    assert created["mappings"]["properties"]["text"] == {"type": "text", "analyzer": "english"}
    assert cluster.asked[-1][:2] == ("POST", "/pages/_refresh")


def test_chinese_is_analysed_as_such_unless_told_otherwise() -> None:
    for analyzer, expected in (("", "cjk"), ("smartcn", "smartcn")):
        cluster = Cluster()
        with target(cluster) as index:
            index.load(documents(3, "公民经过登记可以成为个体工商户"), analyzer)
        assert cluster.asked[0][2]["mappings"]["properties"]["title"]["analyzer"] == expected


def test_what_the_cluster_was_too_busy_for_is_sent_again() -> None:
    cluster = Cluster()
    busy = [{"index": {"_id": f"d{place}", "status": 201 if place else 429}} for place in range(3)]
    with target(cluster) as index:
        cluster.replies = [httpx.Response(200, json={}), httpx.Response(200, json={"errors": True, "items": busy})]
        assert index.load(documents(3)) == 3
    assert [action["index"]["_id"] for action in cluster.bodies("_bulk")[1][::2]] == ["d0"]
    assert cluster.pauses == [0.25]


def test_a_refused_document_and_a_taken_name_are_told() -> None:
    cluster = Cluster()
    refused = [{"index": {"_id": "d0", "status": 400, "error": {"type": "x", "reason": "id is too long"}}}]
    cluster.replies = [httpx.Response(200, json={}), httpx.Response(200, json={"errors": True, "items": refused})]
    with target(cluster) as index, pytest.raises(InvalidRequest, match="'d0' was refused: id is too long"):
        index.load(documents(1))
    cluster.replies = [error(400, "resource_already_exists_exception", "index [pages] already exists")]
    with target(cluster) as index, pytest.raises(Conflict, match="there is an index pages"):
        index.load(documents(1))
    with target(cluster) as index, pytest.raises(InvalidRequest, match="no document"):
        index.load(iter(()))


def test_one_kind_of_credentials_is_enough() -> None:
    address = "elasticsearch:http://u:p@localhost:9200/pages"
    with pytest.raises(InvalidRequest, match="not both"), open_elastic(address, "a2V5"):
        pass
    with pytest.raises(InvalidRequest, match="needs an encoder"), open_elastic(f"{ADDRESS}?vector=emb"):
        pass
    with open_elastic(ADDRESS, "a2V5") as index:
        assert isinstance(index, ElasticTarget)
