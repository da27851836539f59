"""The same suite of ports, of what changes: documents, rights, filters, collections and their aliases."""

from __future__ import annotations

from typing import Any

import pytest

from retrieval.errors import CollectionNotFound, Conflict, DocumentNotFound, InvalidRequest
from services.ports import NewCollection, Put, RecallRequest, Remove, Rights, Written
from tests.contract.conftest import BOARD, PUBLIC, Ports, put
from tests.fakes import DOCUMENTS

LEXICAL = {"lexical": 1.0, "dense": 0.0}


async def found(ports: Ports, query: str, rights: Rights = PUBLIC, **fields: Any) -> list[str]:
    """Documents that hold a word of the query; without vectors, to which everything is near."""
    recalled = await ports.recall.recall(RecallRequest("docs", query, rights, weights=LEXICAL, **fields))
    return sorted({candidate.passage.document_id for candidate in recalled.candidates})


async def test_what_is_written_is_seen_by_the_next_search_and_tells_its_state(ports: Ports) -> None:
    before = await ports.recall.describe("docs")
    changes: list[Put | Remove] = [
        put("light", "The lighthouse.", title="Light", source="web", metadata={"year": 2024, "tags": ["a", "b"]}),
        Remove("guide/install.md"),
        Remove("not-there"),
        put("light", "The lighthouse burns.", acl=("group:board", "public"), metadata={"year": 2025}),
    ]
    written = await ports.recall.write("docs", changes)
    assert [each.status for each in written.outcomes] == [201, 200, 404, 200]
    assert [each.version for each in written.outcomes][:2] == [1, 2]
    after = await ports.recall.describe("docs")
    assert after.generation == written.generation != before.generation
    assert after.documents == len(DOCUMENTS)
    assert await found(ports, "lighthouse server") == ["light"]
    stored = await ports.recall.document("docs", "light", PUBLIC)
    assert (stored.text, stored.version, stored.acl) == ("The lighthouse burns.", 2, ("group:board", "public"))
    assert dict(stored.metadata) == {"year": 2025}


async def test_versions_that_do_not_fit_are_conflicts_that_leave_the_rest_alone(ports: Ports) -> None:
    changes: list[Put | Remove] = [
        put("a", "one", version=5),
        put("a", "two", version=5),
        put("a", "three", if_version=4),
        Remove("a", version=3),
        put("b", "lighthouse", if_version=0),
        put("b", "four", if_version=0),
        Remove("a", if_version=5),
        put("a", "late", version=5),
    ]
    written = await ports.recall.write("docs", changes)
    assert [each.status for each in written.outcomes] == [201, 409, 409, 409, 201, 409, 200, 409]
    assert all(each.reason for each in written.outcomes if each.status == 409)
    assert await found(ports, "one two three late lighthouse") == ["b"]


async def test_a_batch_of_nothing_changes_nothing(ports: Ports) -> None:
    before = await ports.recall.describe("docs")
    assert await ports.recall.write("docs", []) == Written(before.generation, ())
    refused = await ports.recall.write("docs", [Remove("not-there")])
    assert refused.generation == before.generation


async def test_rights_decide_what_is_found_counted_and_read(ports: Ports) -> None:
    secret = put("merger", "The lighthouse is sold.", acl=("group:board",), metadata={"lang": "secret"})
    await ports.recall.write("docs", [secret, put("open", "The lighthouse shines.", metadata={"lang": "en"})])
    assert await found(ports, "lighthouse") == ["open"]
    assert await found(ports, "lighthouse", BOARD) == ["merger", "open"]
    assert await found(ports, "lighthouse", Rights(())) == ["open"]
    assert await found(ports, "lighthouse", filters={"type": "eq", "key": "lang", "value": "secret"}) == []
    with pytest.raises(DocumentNotFound) as hidden:
        await ports.recall.document("docs", "merger", PUBLIC)
    with pytest.raises(DocumentNotFound) as absent:
        await ports.recall.document("docs", "absent", PUBLIC)
    assert hidden.value.detail.replace("merger", "absent") == absent.value.detail
    assert (await ports.recall.document("docs", "merger", BOARD)).acl == ("group:board",)
    counted = [(await ports.recall.view("docs", rights)).info.documents for rights in (PUBLIC, BOARD)]
    assert counted == [len(DOCUMENTS) + 1, len(DOCUMENTS) + 2]
    for rights, values in ((PUBLIC, (("en", 1),)), (BOARD, (("en", 1), ("secret", 1)))):
        request = RecallRequest("docs", "x", rights, facets=("lang", "nothing"), weights=LEXICAL)
        facets = (await ports.recall.recall(request)).facets
        assert {key: tuple(sorted(counts)) for key, counts in facets.items()} == {"lang": values, "nothing": ()}


async def test_what_is_near_by_its_vector_alone_is_hidden_too(ports: Ports) -> None:
    await ports.recall.write("docs", [put("merger", "The lighthouse is sold.", acl=("group:board",))])
    recalled = await ports.recall.recall(RecallRequest("docs", "The lighthouse is sold.", weights={"dense": 1.0}))
    assert "merger" not in {candidate.passage.document_id for candidate in recalled.candidates}


async def test_after_a_change_of_rights_the_old_ones_count_no_more(ports: Ports) -> None:
    await ports.recall.write("docs", [put("a", "lighthouse"), put("b", "lighthouse", acl=("group:board",))])
    assert await found(ports, "lighthouse") == ["a"]
    await ports.recall.write("docs", [put("a", "lighthouse", acl=("group:board",)), put("b", "lighthouse")])
    assert await found(ports, "lighthouse") == ["b"]


async def test_filters_decide_what_is_found_and_counted(ports: Ports) -> None:
    years = [
        put(f"y{year}", "lighthouse", metadata={"year": year, "odd": bool(year % 2)}) for year in range(2020, 2026)
    ]
    await ports.recall.write("docs", years)
    recent = {"type": "gte", "key": "year", "value": 2023}
    assert await found(ports, "lighthouse", filters=recent) == ["y2023", "y2024", "y2025"]
    odd = {"type": "and", "filters": [recent, {"type": "eq", "key": "odd", "value": True}]}
    assert await found(ports, "lighthouse", filters=odd) == ["y2023", "y2025"]
    late = {"type": "nin", "key": "year", "value": list(range(2021, 2026))}
    assert await found(ports, "lighthouse", filters=late) == ["y2020"]
    request = RecallRequest("docs", "lighthouse", filters=odd, facets=("year",), weights=LEXICAL)
    assert sorted((await ports.recall.recall(request)).facets["year"]) == [(2023, 1), (2025, 1)]


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"type": "like", "key": "a", "value": "b"},
        {"type": "and", "filters": []},
        {"type": "eq", "key": "a"},
    ],
)
async def test_a_filter_that_is_none_is_refused(ports: Ports, filters: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="filters"):
        await ports.recall.recall(RecallRequest("docs", "x", filters=filters))


async def test_a_collection_is_made_once_with_its_fields_and_keeps_to_them(ports: Ports) -> None:
    wanted = NewCollection(
        fields={"year": "number", "lang": "keyword"}, synonyms=(("k8s", "kubernetes"),), words=("Riddle",)
    )
    assert await ports.recall.create("fresh", wanted) is True
    assert await ports.recall.create("fresh", wanted) is False
    with pytest.raises(Conflict):
        await ports.recall.create("fresh", NewCollection())
    view = await ports.recall.view("fresh", PUBLIC)
    assert (dict(view.fields), view.vectors, view.info.documents) == (dict(wanted.fields), "auto", 0)
    changes = [put("a", "x", metadata={"year": "soon"}), put("b", "lighthouse", metadata={"year": 2024})]
    written = await ports.recall.write("fresh", changes)
    assert [each.status for each in written.outcomes] == [422, 201]
    assert "year" in written.outcomes[0].reason
    with pytest.raises(InvalidRequest, match="year"):
        await ports.recall.recall(RecallRequest("fresh", "x", filters={"type": "eq", "key": "year", "value": "soon"}))


async def test_an_alias_stands_for_its_collection_until_it_is_led_elsewhere(ports: Ports) -> None:
    await ports.recall.create("docs-2", NewCollection())
    await ports.recall.set_alias("current", "docs")
    assert (await ports.recall.describe("current")).name == "docs"
    assert (await ports.recall.recall(RecallRequest("current", "start the server"))).candidates
    assert (await ports.recall.view("docs", PUBLIC)).aliases == ("current",)
    await ports.recall.write("current", [put("a", "lighthouse")])
    assert (await ports.recall.document("docs", "a", PUBLIC)).text == "lighthouse"
    await ports.recall.set_alias("current", "docs-2")
    assert (await ports.recall.recall(RecallRequest("current", "start the server"))).candidates == ()
    await ports.recall.set_alias("other", "current")
    assert (await ports.recall.describe("other")).name == "docs-2"
    await ports.recall.remove_alias("current")
    with pytest.raises(CollectionNotFound):
        await ports.recall.describe("current")


async def test_an_alias_hides_no_collection_and_keeps_its_own(ports: Ports) -> None:
    await ports.recall.create("docs-2", NewCollection())
    await ports.recall.set_alias("current", "docs-2")
    for name in ("docs", "empty"):
        with pytest.raises(Conflict):
            await ports.recall.set_alias(name, "docs-2")
    with pytest.raises(Conflict):
        await ports.recall.create("current", NewCollection())
    with pytest.raises(Conflict):
        await ports.recall.drop("docs-2")
    await ports.recall.remove_alias("current")
    await ports.recall.drop("docs-2")
    with pytest.raises(CollectionNotFound):
        await ports.recall.describe("docs-2")


async def test_a_collection_that_is_dropped_and_made_again_has_another_state(ports: Ports) -> None:
    before = await ports.recall.describe("docs")
    await ports.recall.drop("docs")
    await ports.recall.create("docs", NewCollection())
    after = await ports.recall.describe("docs")
    assert (after.generation, after.created) != (before.generation, before.created)
