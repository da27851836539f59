"""Search through a real server: what comes back, and what happens when a part is missing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from retrieval.errors import ModelMissing, Overloaded, Unavailable
from tests.fakes import DOCUMENTS
from tests.service.conftest import Live


def test_a_search_returns_passages_with_their_place_and_times(live: Live) -> None:
    reply = live.search("start the server").json()
    first = reply["results"][0]
    assert first["scored_by"] == "rerank"
    assert first["explain"] is None
    document = next(each for each in DOCUMENTS if each.document_id == first["document_id"])
    assert document.text[slice(*first["offsets"])] == first["text"]
    assert reply["generation"] == "docs@1"
    assert reply["cache"] == "miss"
    assert reply["degraded"] == []
    assert reply["partial"] is False
    assert {"describe", "lexical", "rerank", "total"} <= set(reply["timings_ms"])


def test_explain_gives_rank_and_score_of_each_stage(live: Live) -> None:
    first = live.search("start the server", explain=True).json()["results"][0]
    assert set(first["explain"]) == {"lexical", "fused", "rerank"}
    assert first["explain"]["rerank"] == {"rank": 1, "score": first["score"]}


def test_the_same_search_again_comes_from_the_cache_and_a_new_generation_does_not(live: Live) -> None:
    first = live.search("passages").json()
    again = live.search("passages").json()
    assert (first["cache"], again["cache"]) == ("miss", "hit")
    assert first["results"] == again["results"]
    live.gateway.recall.publish("docs", DOCUMENTS[:1])
    assert live.search("passages").json()["cache"] == "miss"


def test_a_cached_page_can_be_explained(live: Live) -> None:
    live.search("passages")
    reply = live.search("passages", explain=True).json()
    assert reply["cache"] == "hit"
    assert reply["results"][0]["explain"]["lexical"]["rank"] == 1


def test_ranking_that_fails_leaves_the_fused_order_says_so_and_is_not_remembered(live: Live) -> None:
    for failure in (Unavailable("gone"), Overloaded("full"), ModelMissing("no weights")):
        live.gateway.rank.fail_with = failure
        reply = live.search("start the server")
        assert reply.status_code == 200
        assert reply.json()["degraded"] == ["rerank"]
        assert reply.json()["cache"] == "miss"
        assert {each["scored_by"] for each in reply.json()["results"]} == {"fused"}
    live.gateway.rank.fail_with = None
    assert live.search("start the server").json()["degraded"] == []


def test_a_channel_left_out_of_recall_is_named_and_the_page_not_remembered(live: Live) -> None:
    live.gateway.recall.degraded = ("dense",)
    assert live.search("passages").json()["degraded"] == ["dense"]
    assert live.search("passages").json()["cache"] == "miss"


def test_the_budget_reaches_every_hop(live: Live) -> None:
    live.search("start the server", budget_ms=5000)
    deadline = live.gateway.recall.asked[0].deadline_ms
    assert deadline is not None
    assert 0 < deadline <= 5000
    left = live.gateway.rank.asked[0]
    assert left is not None
    assert 0 < left <= deadline


def test_without_a_budget_there_is_no_deadline(live: Live) -> None:
    live.search("start the server")
    assert live.gateway.recall.asked[0].deadline_ms is None
    assert live.gateway.rank.asked == [None]


def test_a_rerank_depth_of_nought_asks_no_reranker_and_degrades_nothing(live: Live) -> None:
    reply = live.search("start the server", ranking={"rerank": {"depth": 0}}).json()
    assert reply["degraded"] == []
    assert live.gateway.rank.asked == []
    assert reply["results"][0]["scored_by"] == "fused"


def test_weights_and_the_constant_of_fusion_reach_recall(live: Live) -> None:
    live.search("server", ranking={"fusion": {"k": 10, "weights": {"dense": 0}}})
    asked = live.gateway.recall.asked[0]
    assert asked.rrf_k == 10
    assert dict(asked.weights) == {"lexical": 1.0, "dense": 0.0}


@pytest.mark.parametrize(
    ("fusion", "method", "normalisation"),
    [
        ({"method": "dbsf", "weights": {"dense": 2}}, "dbsf", "min-max"),
        ({"method": "weighted"}, "weighted", "min-max"),
        ({"method": "weighted", "normalisation": "z"}, "weighted", "z"),
        ({}, "rrf", "min-max"),
    ],
)
def test_the_method_of_fusion_reaches_recall(live: Live, fusion: object, method: str, normalisation: str) -> None:
    reply = live.search("start the server", ranking={"fusion": fusion, "rerank": {"depth": 0}})
    assert reply.status_code == 200
    asked = live.gateway.recall.asked[0]
    assert (asked.fusion, asked.normalisation) == (method, normalisation)


def test_each_way_to_fuse_is_a_search_of_its_own(live: Live) -> None:
    ways: list[dict[str, Any]] = [
        {"method": "rrf"},
        {"method": "dbsf"},
        {"method": "weighted"},
        {"method": "weighted", "normalisation": "z"},
    ]
    query = "the package server query words passages results ranked answer"
    cursors = []
    for way in ways:
        first = live.search(query, k=1, ranking={"fusion": way}).json()
        assert first["cache"] == "miss"
        cursors.append(first["next_cursor"])
    assert live.search(query, k=1, ranking={"fusion": ways[0]}).json()["cache"] == "hit"
    for way, cursor in zip(ways, cursors, strict=True):
        for other in ways:
            reply = live.search(query, k=1, cursor=cursor, ranking={"fusion": other})
            assert reply.status_code == (200 if other == way else 422)


@pytest.mark.parametrize(
    ("fusion", "said"),
    [
        ({"method": "dbsf", "k": 60}, "ranking.fusion.k: it goes with the method `rrf`"),
        ({"method": "weighted", "k": 60}, "ranking.fusion.k: it goes with the method `rrf`"),
        ({"normalisation": "z"}, "and this server's is `rrf`"),
        ({"method": "dbsf", "normalisation": "min-max"}, "ranking.fusion.normalisation: it goes with the method"),
        ({"method": "mean"}, "ranking.fusion.method"),
        ({"method": "weighted", "normalisation": "l2"}, "ranking.fusion.normalisation"),
    ],
)
def test_what_goes_with_another_method_of_fusion_is_refused_by_name(live: Live, fusion: object, said: str) -> None:
    for path in ("/v1/search", "/v1/answer"):
        reply = live.http.post(path, json={"query": "server", "ranking": {"fusion": fusion}})
        assert reply.status_code == 422
        assert said in reply.json()["detail"]


@pytest.mark.parametrize(
    ("ranking", "said"),
    [
        ({"diversity": True}, "ranking.diversity"),
        ({"diversity": 1.5}, "ranking.diversity"),
        ({"diversity": "0.5"}, "ranking.diversity"),
        ({"diversity": {"mmr_lambda": 2}}, "mmr_lambda"),
        ({"diversity": {"lambda": 0.5}}, "mmr_lambda"),
        ({"min_probability": 2}, "ranking.min_probability"),
        ({"min_probability": 0.5}, "they are with `rank.order=blend`"),
    ],
)
def test_a_diversity_or_threshold_that_means_nothing_is_refused_by_name(live: Live, ranking: object, said: str) -> None:
    for path in ("/v1/search", "/v1/answer"):
        reply = live.http.post(path, json={"query": "server", "ranking": ranking})
        assert reply.status_code == 422
        assert said in reply.json()["detail"]


def test_explain_gives_the_place_that_diversity_gave(live: Live) -> None:
    query = "the package server query words passages results ranked answer"
    for diversity in (0.5, {"mmr_lambda": 0.5}):
        reply = live.search(query, k=5, explain=True, ranking={"diversity": diversity}).json()
        assert [each["explain"]["diversity"]["rank"] for each in reply["results"]] == [1, 2, 3, 4, 5]


def test_filters_reach_recall_as_they_were_written_and_hold(live: Live) -> None:
    tree = {"type": "eq", "key": "year", "value": 2024}
    found = live.search("the answer words package", k=20, filters=tree).json()
    assert {each["document_id"] for each in found["results"]} == {"faq?#1.md"}
    assert live.gateway.recall.asked[0].filters == tree


def test_the_same_filter_written_otherwise_is_found_in_the_cache(live: Live) -> None:
    one, other = ({"type": "eq", "key": key, "value": 1} for key in ("a", "b"))
    trees = ({"type": "and", "filters": [one, other]}, {"filters": [other, one, other], "type": "and"})
    assert [live.search("words", filters=tree).json()["cache"] for tree in trees] == ["miss", "hit"]
    assert live.search("words", filters={"type": "or", "filters": [one, other]}).json()["cache"] == "miss"
    assert live.search("words").json()["cache"] == "miss"


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"type": "eq"},
        {"type": "eq", "key": "a", "value": {"b": 1}},
        {"type": "eq", "key": "a", "value": 1, "more": 2},
        {"type": "eq", "key": "\ud800", "value": 1},
        {"type": "eq", "key": "a", "value": 1, "\ud800": 2},
        {"type": "eq", "key": "a", "value": "\ud800"},
        {"type": "and", "filters": [{"type": "or", "filters": []}]},
        [],
        "lang=zh",
    ],
)
def test_a_filter_that_is_none_is_refused_by_name(live: Live, filters: object) -> None:
    body = json.dumps({"query": "x", "filters": filters}).encode()
    for path in ("/v1/search", "/v1/answer"):
        reply = live.http.post(path, content=body, headers={"Content-Type": "application/json"})
        assert reply.status_code == 422, reply.text
        assert reply.json()["detail"].startswith("filters")


def test_a_filter_nested_without_end_is_refused(live: Live) -> None:
    for depth in (20, 900, 1500):
        tree = '{"type":"and","filters":[' * depth + "]}" * depth
        body = f'{{"query": "x", "filters": {tree}}}'.encode()
        reply = live.http.post("/v1/search", content=body, headers={"Content-Type": "application/json"})
        assert reply.status_code in (400, 413, 422), reply.text


def test_documents_are_grouped_in_the_order_of_their_best_passage(live: Live) -> None:
    query = "the package server query words passages results ranked answer"
    flat = live.search(query, k=50).json()["results"]
    first = list(dict.fromkeys(each["document_id"] for each in flat))
    for size in (1, 2, 50):
        grouped = live.search(query, k=50, group_by="document", group_size=size).json()["results"]
        expected = [each for name in first for each in [e for e in flat if e["document_id"] == name][:size]]
        assert grouped == expected


def test_pages_of_groups_joined_are_the_whole(live: Live) -> None:
    query = "the package server query words passages results ranked answer"
    whole = live.search(query, k=50, group_by="document", group_size=2).json()["results"]
    joined, cursor = [], None
    while True:
        reply = live.search(query, k=1, group_by="document", group_size=2, cursor=cursor).json()
        assert len({each["document_id"] for each in reply["results"]}) == 1
        joined += reply["results"]
        cursor = reply["next_cursor"]
        if cursor is None:
            break
    assert joined == whole
    cursor = live.search(query, k=1, group_by="document").json()["next_cursor"]
    assert live.search(query, k=1, cursor=cursor).status_code == 422


def test_a_group_size_without_groups_is_refused(live: Live) -> None:
    reply = live.search("x", group_size=2)
    assert reply.status_code == 422
    assert "group_by" in reply.json()["detail"]


def test_facets_are_counted_when_they_are_asked_for(live: Live) -> None:
    assert live.search("words").json()["facets"] is None
    found = live.search("words", facets=["year", "lang"]).json()
    assert found["facets"] == {"year": [{"value": 2024, "count": 1}], "lang": []}
    assert live.search("words", facets=["year", "lang"]).json()["facets"] == found["facets"]
    assert live.search("words", facets=["year"]).json()["cache"] == "miss"


def pages(live: Live, query: str, k: int) -> list[list[dict[str, Any]]]:
    found, cursor = [], None
    while True:
        reply = live.search(query, k=k, cursor=cursor).json()
        found.append(reply["results"])
        cursor = reply["next_cursor"]
        if cursor is None:
            return found


def test_pages_joined_are_the_whole_in_order(live: Live) -> None:
    query = "the package server query words passages results ranked answer"
    whole = live.search(query, k=50).json()["results"]
    found = pages(live, query, 2)
    assert [len(page) for page in found] == [2, 2, 2]
    assert [each for page in found for each in page] == whole


def test_a_cursor_ends_with_its_generation(live: Live) -> None:
    cursor = live.search("the query words", k=1).json()["next_cursor"]
    live.gateway.recall.publish("docs", DOCUMENTS)
    reply = live.search("the query words", k=1, cursor=cursor)
    assert reply.status_code == 409
    assert "search again without the cursor" in reply.json()["detail"]


def test_a_cursor_of_another_request_is_refused(live: Live) -> None:
    cursor = live.search("the query words", k=1).json()["next_cursor"]
    assert live.search("something else", k=1, cursor=cursor).status_code == 422


def test_a_cursor_that_was_changed_is_refused(live: Live) -> None:
    cursor = live.search("the query words", k=1).json()["next_cursor"]
    for bad in (cursor[:-4], "A" + cursor[1:], "no cursor", "é", ""):
        reply = live.search("the query words", k=1, cursor=bad)
        assert reply.status_code == 422, bad
        assert reply.json()["detail"].startswith("cursor: ")


def test_the_second_page_of_a_degraded_search_stays_on_its_rung(live: Live) -> None:
    live.gateway.rank.fail_with = Unavailable("gone")
    first = live.search("the query words", k=1).json()
    live.gateway.rank.fail_with = None
    second = live.search("the query words", k=1, cursor=first["next_cursor"]).json()
    assert second["degraded"] == ["rerank"]
    assert first["results"][0]["passage_id"] != second["results"][0]["passage_id"]


def test_a_second_page_that_cannot_be_ranked_like_the_first_is_a_conflict(live: Live) -> None:
    cursor = live.search("the query words", k=1).json()["next_cursor"]
    live.gateway.rank.fail_with = Unavailable("gone")
    assert live.search("the query words", k=1, cursor=cursor).status_code == 409


def test_an_empty_collection_has_no_results(live: Live) -> None:
    live.gateway.recall.publish("empty", [])
    reply = live.search("anything", collection="empty")
    assert reply.status_code == 200
    assert reply.json()["results"] == []
    assert reply.json()["next_cursor"] is None


def test_documents_are_found_by_ids_with_slashes_and_marks(live: Live) -> None:
    for document in DOCUMENTS:
        path = httpx_quote(document.document_id)
        reply = live.http.get(f"/v1/collections/docs/documents/{path}").json()
        assert reply["text"] == document.text
        assert reply["metadata"] == dict(document.metadata)
    plain = live.http.get("/v1/collections/docs/documents/guide/install.md")
    assert plain.status_code == 200


def test_collections_are_listed_described_and_removed(live: Live) -> None:
    listed = live.http.get("/v1/collections").json()
    assert listed["default"] == "docs"
    assert [each["name"] for each in listed["collections"]] == ["docs"]
    assert live.http.get("/v1/collections/docs").json()["documents"] == len(DOCUMENTS)
    assert live.http.delete("/v1/collections/docs").status_code == 204
    assert live.http.get("/v1/collections/docs").status_code == 404


def test_metrics_count_stages_look_ups_and_routes(live: Live) -> None:
    live.search("passages")
    live.search("passages")
    live.http.get("/v1/collections/docs/documents/faq")
    text = live.http.get("/metrics").text
    assert 'riddle_stage_seconds_count{stage="lexical"} 1.0' in text
    assert 'riddle_cache_lookups_total{result="hit"} 1.0' in text
    route = 'route="/v1/collections/{collection}/documents/{document_id:path}"'
    assert f'riddle_request_seconds_count{{method="GET",{route},status="404"}} 1.0' in text


def test_it_is_alive_at_once_and_ready_only_when_its_parts_are(live: Live) -> None:
    assert live.http.get("/livez").status_code == 200
    assert live.http.get("/readyz").json() == {"parts": {"encoder": "ok", "index": "ok", "reranker": "ok"}}
    live.gateway.rank.state = "loading"
    reply = live.http.get("/readyz")
    assert reply.status_code == 503
    assert reply.json()["detail"] == "not ready: reranker: loading"
    assert reply.json()["parts"]["encoder"] == "ok"
    assert live.http.get("/livez").status_code == 200


def test_the_examples_in_the_openapi_document_are_true_to_their_models(live: Live) -> None:
    from services import wire

    schemas = live.http.get("/openapi.json").json()["components"]["schemas"]
    checked = 0
    for name, schema in schemas.items():
        for example in schema.get("examples", []):
            model = getattr(wire, name, None)
            if model is not None:
                model.model_validate_json(json.dumps(example))
                checked += 1
    assert checked >= 4
    assert schemas["SearchRequest"]["properties"]["query"]["maxLength"] == 200


def httpx_quote(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")
