"""Documents written over HTTP, one or many at a time: what is refused says where, and leaves the rest alone."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from retrieval.errors import ModelMissing, Unavailable
from retrieval.filters import FieldType
from services.gateway.bulk import read_bulk
from services.ports import Put, Remove
from tests.fakes import DOCUMENTS
from tests.service.conftest import Live

BULK = "/v1/collections/docs/_bulk"


def ndjson(*lines: object) -> bytes:
    return b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)


def bulk(live: Live, *lines: object, path: str = BULK) -> dict[str, Any]:
    reply = live.http.post(path, content=ndjson(*lines), headers={"Content-Type": "application/x-ndjson"})
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def test_a_batch_is_answered_line_by_line_and_found_by_the_next_search(live: Live) -> None:
    assert live.search("lighthouse").json()["results"] == []
    reply = bulk(
        live,
        {"index": {"_id": "d1", "version": 7}},
        {"text": "The lighthouse.", "title": "Light", "metadata": {"year": 2024, "tags": ["a", "b"]}},
        {"delete": {"_id": "d2"}},
        {"create": {"_id": "d1"}},
        {"text": "Another lighthouse."},
        {"delete": {"_id": "guide/install.md"}},
    )
    assert reply["errors"] is True
    assert reply["items"] == [
        {"index": {"_id": "d1", "status": 201, "version": 7}},
        {
            "delete": {
                "_id": "d2",
                "status": 404,
                "error": {
                    "type": "/problems/document_not_found",
                    "code": "document_not_found",
                    "line": 3,
                    "detail": "line 3: there is no such document",
                },
            }
        },
        reply["items"][2],
        {"delete": {"_id": "guide/install.md", "status": 200, "version": 2}},
    ]
    assert reply["items"][2]["create"]["status"] == 409
    found = live.search("lighthouse").json()
    assert found["generation"] == reply["generation"]
    assert [each["document_id"] for each in found["results"]] == ["d1"]
    assert found["results"][0]["metadata"] == {"year": 2024, "tags": ["a", "b"]}


@pytest.mark.parametrize(
    ("lines", "line", "said"),
    [
        ([{"index": {}}, {"text": "x"}], 1, "_id: is missing"),
        ([{"index": {"_id": ""}}, {"text": "x"}], 1, "_id"),
        ([{"index": {"_id": "a\x00"}}, {"text": "x"}], 1, "_id"),
        ([{"index": {"_id": 7}}, {"text": "x"}], 1, "_id"),
        ([{"index": {"_id": "a", "version": -1}}, {"text": "x"}], 1, "version"),
        ([{"index": {"_id": "a", "routing": "b"}}, {"text": "x"}], 1, "routing: unknown field"),
        ([{"index": {"_id": "a"}}, {"title": "x"}], 2, "text: is missing"),
        ([{"index": {"_id": "a"}}, {"text": " "}], 2, "blanks"),
        ([{"index": {"_id": "a"}}, {"text": "x", "txt": "y"}], 2, "txt: unknown field"),
        ([{"index": {"_id": "a"}}, {"text": "x", "acl": ["a b"]}], 2, "acl.0"),
        ([{"index": {"_id": "a"}}, {"text": "x", "acl": "group:eng"}], 2, "acl"),
        ([{"index": {"_id": "a"}}, {"text": "x", "metadata": {"a": {"b": 1}}}], 2, "metadata.a"),
        ([{"index": {"_id": "a"}}, b'{"text": "x", "metadata": {"a": NaN}}'], 2, "metadata.a"),
        ([{"index": {"_id": "a"}}, b'{"text": "x", "metadata": {"a": 1e999}}'], 2, "metadata.a"),
        ([{"index": {"_id": "a"}}, {"text": "x", "vector": []}], 2, "vector"),
        ([{"index": {"_id": "a"}}, b'{"text": "x", "vector": [1e999]}'], 2, "vector"),
        ([{"index": {"_id": "a"}}, {"text": "x", "vector": ["1", None]}], 2, "vector"),
        ([{"index": {"_id": "a"}}, b'{"text": "\\ud800"}'], 2, ""),
        ([{"index": {"_id": "a"}}, b"{"], 2, ""),
        ([{"index": {"_id": "a"}}, b'{"text": "\xff"}'], 2, ""),
        ([{"update": {"_id": "a"}}, {"doc": {}}], 1, "not an action"),
        ([b"{", {"text": "x"}], 1, "not JSON"),
        ([["index"], {"text": "x"}], 1, "not an action"),
    ],
)
def test_what_cannot_be_stored_is_refused_by_its_line_and_the_others_go_on(
    live: Live, lines: list[object], line: int, said: str
) -> None:
    reply = bulk(live, *lines, {"index": {"_id": "good"}}, {"text": "lighthouse"})
    refused, stored = (next(iter(item.values())) for item in reply["items"])
    assert (refused["status"], refused["error"]["line"]) == (422, line)
    assert f"line {line}: " in refused["error"]["detail"]
    assert said in refused["error"]["detail"]
    assert stored == {"_id": "good", "status": 201, "version": 1}


def test_a_document_that_is_missing_does_not_swallow_the_next_action(live: Live) -> None:
    reply = bulk(live, {"index": {"_id": "a"}}, {"delete": {"_id": "guide/install.md"}}, {"index": {"_id": "b"}})
    statuses = [next(iter(item.values()))["status"] for item in reply["items"]]
    assert statuses == [422, 200, 422]
    assert "its document should follow" in reply["items"][0]["index"]["error"]["detail"]
    assert "guide/install.md" not in live.gateway.recall.held["docs"].documents


def test_of_two_changes_of_one_document_the_later_stands(live: Live) -> None:
    reply = bulk(live, {"index": {"_id": "a"}}, {"text": "first"}, {"index": {"_id": "a"}}, {"text": "second"})
    assert [item["index"]["status"] for item in reply["items"]] == [201, 200]
    assert live.http.get("/v1/collections/docs/documents/a").json()["text"] == "second"


def test_empty_lines_and_windows_line_ends_are_passed_over() -> None:
    items = read_bulk(b'\r\n{"delete":{"_id":"a"}}\r\n\n \n{"index":{"_id":"b"}}\r\n\n{"text":"x"}')
    assert [(item.line, item.action, item.document_id, item.reason) for item in items] == [
        (2, "delete", "a", ""),
        (7, "index", "b", ""),
    ]
    assert items[0].change == Remove("a")


def test_a_row_brings_its_own_vector_as_float32() -> None:
    item = read_bulk(ndjson({"index": {"_id": "a"}}, {"text": "x", "vector": [0.1, -2, 3e-5], "acl": ["b", "a", "b"]}))[
        0
    ]
    assert isinstance(item.change, Put)
    assert item.change.vector is not None
    assert np.frombuffer(item.change.vector, np.float32).tolist() == np.asarray([0.1, -2, 3e-5], np.float32).tolist()
    assert item.change.document.acl == ("b", "a")


def test_a_vector_beyond_float32_is_no_warning_here_and_is_refused_where_it_is_stored() -> None:
    item = read_bulk(ndjson({"index": {"_id": "a"}}, {"text": "x", "vector": [1e300]}))[0]
    assert isinstance(item.change, Put)
    assert item.change.vector is not None
    assert not np.isfinite(np.frombuffer(item.change.vector, np.float32)).all()


@pytest.mark.parametrize("body", [b"", b"\n \n"])
def test_a_body_without_a_line_says_what_to_send(live: Live, body: bytes) -> None:
    reply = live.http.post(BULK, content=body)
    assert reply.status_code == 422
    assert "an action" in reply.json()["detail"]


def test_bulk_has_a_limit_of_its_own_and_so_have_documents(live: Live) -> None:
    large = "x" * 100_000
    assert bulk(live, {"index": {"_id": "a"}}, {"text": large})["errors"] is False
    assert live.http.put("/v1/collections/docs/documents/a/b", json={"text": large}).status_code == 201
    for path in (BULK, "/v1/collections/docs/documents/a"):
        assert live.http.request("PUT", path, content=b"x" * 300_000).status_code == 413
    assert live.http.post("/v1/search", content=b"x" * 50_000).status_code == 413


def test_a_batch_on_an_unknown_name_makes_the_collection(live: Live) -> None:
    reply = bulk(live, {"index": {"_id": "a"}}, {"text": "x"}, path="/v1/collections/fresh/_bulk")
    assert reply["errors"] is False
    assert live.http.get("/v1/collections/fresh").json()["documents"] == 1


def test_a_batch_that_only_deletes_makes_none(live: Live) -> None:
    reply = live.http.post("/v1/collections/fresh/_bulk", content=ndjson({"delete": {"_id": "a"}}))
    assert (reply.status_code, reply.json()["code"]) == (404, "collection_not_found")
    assert "fresh" not in live.gateway.recall.held


@pytest.mark.parametrize(
    ("failure", "status"),
    [(ModelMissing("the encoder is not there"), 424), (Unavailable("the encoder is loading", stage="encoder"), 503)],
)
def test_without_an_encoder_nothing_of_a_batch_is_written(live: Live, failure: Any, status: int) -> None:
    live.gateway.recall.unencoded = failure
    lines = ndjson({"index": {"_id": "a"}}, {"text": "x", "vector": [1.0]}, {"index": {"_id": "b"}}, {"text": "x"})
    reply = live.http.post(BULK, content=lines)
    assert reply.status_code == status
    assert "encoder" in reply.json()["detail"]
    assert len(live.gateway.recall.held["docs"].documents) == len(DOCUMENTS)
    assert bulk(live, {"index": {"_id": "a"}}, {"text": "x", "vector": [1.0]})["errors"] is False


def test_one_document_is_written_read_and_removed(live: Live) -> None:
    path = "/v1/collections/docs/documents/a%2Fb%20%3F.md"
    body = {"text": "The lighthouse.", "title": "Light", "metadata": {"year": 2024}, "acl": ["public"]}
    made = live.http.put(path, json=body)
    assert (made.status_code, made.json()["version"], made.json()["document_id"]) == (201, 1, "a/b ?.md")
    read = live.http.get(path).json()
    assert {key: read[key] for key in body} == body
    again = live.http.put(path, json=body)
    assert (again.status_code, again.json()["version"]) == (200, 2)
    assert live.http.delete(path).json()["version"] == 3
    for method in ("GET", "DELETE"):
        gone = live.http.request(method, path)
        assert (gone.status_code, gone.json()["code"]) == (404, "document_not_found")


def test_versions_that_do_not_fit_are_a_conflict(live: Live) -> None:
    path = "/v1/collections/docs/documents/a"
    assert live.http.put(path, json={"text": "x"}, params={"version": 5}).json()["version"] == 5
    for params in ({"version": 5}, {"version": 4}, {"if_version": 4}, {"if_version": 0}):
        for method, body in (("PUT", {"text": "y"}), ("DELETE", None)):
            reply = live.http.request(method, path, json=body, params=params)
            assert (reply.status_code, reply.json()["code"]) == (409, "conflict"), params
    assert live.http.put(path, json={"text": "y"}, params={"if_version": 5}).json()["version"] == 6


def test_a_document_that_does_not_fit_the_fields_is_refused(live: Live) -> None:
    fields: dict[str, FieldType] = {"year": "number"}
    assert live.http.put("/v1/collections/typed", json={"fields": fields}).status_code == 201
    path = "/v1/collections/typed/documents/a"
    reply = live.http.put(path, json={"text": "x", "metadata": {"year": "soon"}})
    assert reply.status_code == 422
    assert "year" in reply.json()["detail"]
    assert live.http.put(path, json={"text": "x", "metadata": {"year": 2024}}).status_code == 201


@pytest.mark.parametrize("document_id", ["%00", "a%09b", "x" * 600])
def test_what_is_no_id_is_refused(live: Live, document_id: str) -> None:
    reply = live.http.put(f"/v1/collections/docs/documents/{document_id}", json={"text": "x"})
    assert reply.status_code == 422, reply.text


def test_a_collection_is_made_once_and_made_otherwise_is_a_conflict(live: Live) -> None:
    wanted = {"fields": {"lang": "keyword", "year": "number"}, "synonyms": [["k8s", "kubernetes"]], "words": ["Riddle"]}
    made = live.http.put("/v1/collections/fresh", json=wanted)
    assert made.status_code == 201
    assert made.json()["fields"] == wanted["fields"]
    assert live.http.put("/v1/collections/fresh", json=wanted).status_code == 200
    assert live.http.put("/v1/collections/fresh", json={}).status_code == 409
    for bad in ({"fields": {"a": "text"}}, {"synonyms": [["one"]]}, {"engine": "x"}, {"fields": {"": "number"}}):
        assert live.http.put("/v1/collections/other", json=bad).status_code == 422, bad


def test_a_collection_tells_by_which_model_its_token_vectors_are_made(live: Live) -> None:
    for name, body, model in (("with", {"late": "some-model"}, "some-model"), ("without", {"late": ""}, "")):
        assert live.http.put(f"/v1/collections/{name}", json=body).json()["late"] == model
        assert live.http.get(f"/v1/collections/{name}").json()["late"] == model
    assert live.http.put("/v1/collections/other", json={"late": 2}).status_code == 422


def test_an_alias_swaps_one_collection_for_another(live: Live) -> None:
    bulk(live, {"index": {"_id": "new"}}, {"text": "server of the new kind"}, path="/v1/collections/docs-2/_bulk")
    for name, found in (("docs", "guide/install.md"), ("docs-2", "new")):
        assert live.http.put("/v1/aliases/current", json={"collection": name}).json() == {"aliases": {"current": name}}
        reply = live.search("server", collection="current").json()
        assert reply["results"][0]["document_id"] == found
        assert reply["cache"] == "miss"
    assert live.http.get("/v1/aliases").json() == {"aliases": {"current": "docs-2"}}
    assert live.http.delete("/v1/aliases/current").status_code == 204
    assert live.search("server", collection="current").status_code == 404
    assert live.http.delete("/v1/aliases/current").status_code == 404
    assert live.http.put("/v1/aliases/current", json={"collection": "nowhere"}).status_code == 404
