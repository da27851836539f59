"""A collection as Dify's external knowledge: what it sends, what it reads, its numbers for what went wrong."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from retrieval.errors import InvalidRequest, Unavailable
from retrieval.filters import FieldType, matches, parse_filter
from retrieval.types import Metadata
from services.auth import Caller, KeyDoor, rights_of
from services.gateway.dify import Condition, MetadataCondition, filter_of
from services.keys import key_ring
from services.ports import NewCollection
from tests.contract.conftest import put
from tests.live import LiveServer, Stage
from tests.service.conftest import Gateway, Live, OpenDoor


def asked(query: str = "start the server", **fields: Any) -> dict[str, Any]:
    setting = {"top_k": 5, "score_threshold": 0.0}
    return {"knowledge_id": "docs", "query": query, "retrieval_setting": setting, **fields}


def records(live: Live, **fields: Any) -> list[dict[str, Any]]:
    reply = live.http.post("/retrieval", json=asked(**fields))
    assert reply.status_code == 200, reply.text
    found: list[dict[str, Any]] = reply.json()["records"]
    return found


def conditions(*given: tuple[Any, str, Any], how: str = "and") -> dict[str, Any]:
    listed = [{"name": name, "comparison_operator": operator, "value": value} for name, operator, value in given]
    return {"logical_operator": how, "conditions": listed}


def test_records_have_what_dify_reads(live: Live) -> None:
    first = records(live, query="search finds passages")[0]
    assert first["title"] == "Search"
    assert "Search finds passages." in {each["content"] for each in records(live, query="search finds passages")}
    assert isinstance(first["score"], float)
    assert first["metadata"]["document_id"] == "guide/search.md"
    assert first["metadata"]["source"] == "guide"


def test_top_k_and_threshold_hold(live: Live) -> None:
    every = records(live, query="the a is")
    assert len(records(live, query="the a is", retrieval_setting={"top_k": 1})) == 1
    least = every[1]["score"]
    kept = records(live, query="the a is", retrieval_setting={"top_k": 5, "score_threshold": least})
    assert [each["score"] for each in kept] == [each["score"] for each in every if each["score"] >= least]
    assert 0 < len(kept) < len(every)


def test_with_the_reranker_gone_a_threshold_does_not_drop_what_nothing_has_judged(live: Live) -> None:
    strict = {"top_k": 5, "score_threshold": 0.5}
    judged = records(live, query="the a is", retrieval_setting=strict)
    live.gateway.rank.fail_with = Unavailable("rank is away", stage="rerank")
    left = records(live, query="the a is", retrieval_setting=strict)
    assert len(left) == len(records(live, query="the a is")) >= len(judged)


def test_nothing_found_is_an_empty_list(live: Live) -> None:
    assert records(live, query="zebra") == []


def test_conditions_are_filters_of_the_search(live: Live) -> None:
    wanted = conditions(("year", "=", "2024"))
    assert {each["title"] for each in records(live, query="the is a", metadata_condition=wanted)} == {"Questions"}
    (seen,) = {str(each.filters) for each in live.gateway.recall.asked}
    assert seen == str({"type": "eq", "key": "year", "value": 2024})
    assert records(live, query="the is a", metadata_condition=conditions(("year", ">", 2024))) == []
    assert records(live, query="the is a", metadata_condition={"conditions": []})
    assert records(live, query="the is a", metadata_condition=None)


META: Metadata = {"lang": "zh", "year": 2024, "day": "2024-05-31", "tags": ["a", "b"], "open": True, "size": 2.5}


@pytest.mark.parametrize(
    ("name", "operator", "value", "passes"),
    [
        ("lang", "is", "zh", True),
        ("lang", "is", "en", False),
        ("lang", "is not", "en", True),
        ("lang", "is not", "zh", False),
        ("open", "is", True, True),
        ("lang", "in", ["en", "zh"], True),
        ("lang", "in", "en, zh", True),
        ("lang", "not in", "en,de", True),
        ("tags", "in", ["b"], True),
        ("year", "=", "2024", True),
        ("year", "≠", 2024, False),
        ("year", ">", "2023.5", True),
        ("year", "<", 2024, False),
        ("year", "≥", 2024, True),
        ("size", "≤", "2.5", True),
        ("day", "before", "2024-06-01", True),
        ("day", "after", "2024-06-01", False),
        ("year", "after", 2000, True),
        ("lang", "not empty", None, True),
        ("size", "not empty", None, True),
        ("open", "not empty", None, True),
        ("gone", "not empty", None, False),
        (["gone", "lang"], "is", "zh", True),
        (["gone", "lang"], "is not", "zh", False),
        ("lang", " IS ", "zh", True),
    ],
)
def test_each_operator_means_what_dify_says(name: Any, operator: str, value: Any, passes: bool) -> None:
    condition = MetadataCondition(conditions=[Condition(name=name, comparison_operator=operator, value=value)])
    tree = filter_of(condition)
    assert matches(parse_filter(tree), META) is passes


@pytest.mark.parametrize("kind", ["keyword", "number", "date", "boolean"])
def test_a_declared_key_is_there_when_it_has_a_value_of_its_type(kind: FieldType) -> None:
    values: dict[FieldType, Any] = {"keyword": "zh", "number": -3.5, "date": "1969-01-01", "boolean": False}
    fields: dict[str, FieldType] = {"key": kind}
    condition = MetadataCondition(conditions=[Condition(name="key", comparison_operator="not empty")])
    tree = parse_filter(filter_of(condition, fields), fields)
    assert matches(tree, {"key": values[kind]}, fields)
    assert not matches(tree, {"key": None}, fields)
    assert not matches(tree, {}, fields)


def test_the_declared_types_of_the_collection_are_asked_for_where_they_matter(live: Live) -> None:
    gateway = live.gateway
    live.server.run(gateway.recall.create("typed", NewCollection(fields={"day": "date"})))
    live.server.run(gateway.recall.write("typed", [put("a", "the text", metadata={"day": "2024-05-31"})]))
    wanted = conditions(("day", "not empty", None))
    assert len(records(live, query="the text", knowledge_id="typed", metadata_condition=wanted)) == 1


@pytest.mark.parametrize(
    ("operator", "value", "says"),
    [
        ("contains", "z", "'contains' cannot be looked up; there are is, is not, in"),
        ("start with", "z", "cannot be looked up"),
        ("empty", None, "cannot be looked up"),
        ("=", "many", "a number"),
        ("=", True, "a number"),
        ("=", "nan", "a number"),
        ("before", "soon", "a date"),
        ("is", ["a"], "one text"),
        ("in", 3, "a list"),
    ],
)
def test_what_cannot_be_looked_up_is_refused_and_named(live: Live, operator: str, value: Any, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        filter_of(MetadataCondition(conditions=[Condition(name="k", comparison_operator=operator, value=value)]))
    reply = live.http.post("/retrieval", json=asked(metadata_condition=conditions(("k", operator, value))))
    assert (reply.status_code, reply.json()["error_code"]) == (422, 422)
    assert "metadata_condition.conditions[0]" in reply.json()["error_msg"]


def test_or_is_or(live: Live) -> None:
    either = conditions(("year", "=", 2024), ("lang", "is", "zh"), how="or")
    assert records(live, query="the is a", metadata_condition=either)
    both = conditions(("year", "=", 2024), ("lang", "is", "zh"))
    assert records(live, query="the is a", metadata_condition=both) == []


def test_failures_carry_difys_numbers(live: Live) -> None:
    for name in ("nowhere", "Not A Name!"):
        unknown = live.http.post("/retrieval", json=asked(knowledge_id=name))
        assert (unknown.status_code, unknown.json()["error_code"]) == (404, 2001)
        assert unknown.json()["error_msg"] == unknown.json()["detail"]
    live.gateway.recall.fail_with = Unavailable("recall is away", stage="recall")
    away = live.http.post("/retrieval", json=asked())
    assert (away.status_code, away.json()["error_code"], away.json()["error_msg"]) == (503, 503, "recall is away")
    bad = live.http.post("/retrieval", json={"knowledge_id": "docs"})
    assert (bad.status_code, bad.json()["error_code"]) == (422, 422)


def test_the_key_decides_what_is_found_and_a_bad_one_has_its_number(
    stage: tuple[Stage, LiveServer, httpx.Client], tmp_path: Any
) -> None:
    on, server, http = stage
    ring = key_ring(tmp_path)
    _, token = ring.create(["group:eng"])
    gateway = Gateway(door=KeyDoor(ring, exposed=True))
    on.app = gateway.app
    server.run(gateway.recall.write("docs", [put("secret.md", "the hidden plan", acl=("group:eng",))]))
    body = asked("hidden plan")
    malformed = http.post("/retrieval", json=body, headers={"Authorization": "key"})
    assert (malformed.status_code, malformed.json()["error_code"]) == (401, 1001)
    wrong = http.post("/retrieval", json=body, headers={"Authorization": "Bearer rk_nobody"})
    assert (wrong.status_code, wrong.json()["error_code"]) == (401, 1002)
    found = http.post("/retrieval", json=body, headers={"Authorization": f"Bearer {token}"})
    assert [each["content"] for each in found.json()["records"]] == ["the hidden plan"]
    outsider = OpenDoor()
    outsider.caller = Caller(rights_of(()))
    on.app = Gateway(recall=gateway.recall, door=outsider).app
    assert http.post("/retrieval", json=body).json()["records"] == []
