"""Late interaction through both kinds of recall: the same scores in this process and over HTTP, made and told alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from retrieval.batch import write_generation
from retrieval.errors import Conflict, InvalidRequest, ModelMissing
from retrieval.late_encoder import LateEncoder
from retrieval.manifest import CollectionSettings
from retrieval.store import CollectionStore
from retrieval.token_codec import LateSpec
from retrieval.types import Recalled
from services.clients import RecallClient, http_client
from services.embedded import EmbeddedRecall
from services.late import LateShelf
from services.pool import Pool
from services.ports import NewCollection, RecallPort, RecallRequest, Remove
from services.recall.app import create_app as create_recall
from services.shelf import EncoderShelf
from services.telemetry import Telemetry
from tests.contract.conftest import PUBLIC, put
from tests.fake_late import FakeLate, with_tokens
from tests.fake_models import FakeEncoder
from tests.fakes import DOCUMENTS
from tests.live import PATIENCE_S, Stage
from tests.parts import part

Over = Callable[[EmbeddedRecall], Awaitable[RecallPort]]

LATE = FakeLate()
QUERY = "how to start the server"


class English(FakeLate):
    languages = ("en",)


def gone(spec: LateSpec) -> LateEncoder:
    raise ModelMissing(f"{spec.model} is not on this disk")


def recall_over(root: Path, load: Callable[[LateSpec], LateEncoder], default: str = "") -> EmbeddedRecall:
    """The collection ``docs`` with token vectors, and ``plain`` without."""
    store = CollectionStore(root)
    told = with_tokens(part(DOCUMENTS), LATE)
    write_generation(store, "docs", [told], encoder=FakeEncoder().spec, settings=CollectionSettings(late=LATE.spec))
    write_generation(store, "plain", [part(DOCUMENTS)], encoder=FakeEncoder().spec)
    shelf = EncoderShelf("fake-encoder", lambda name: FakeEncoder())
    shelf.wait("fake-encoder")
    late = LateShelf(load, default=default, spec_of=lambda name: FakeLate(model=name).spec, offered="offered".__eq__)
    return EmbeddedRecall(store, shelf, "docs", Pool("recall", workers=2, queue=8), late=late)


@pytest.fixture
async def over(
    request: pytest.FixtureRequest, stages: tuple[tuple[Stage, str], tuple[Stage, str]]
) -> AsyncIterator[Over]:
    """What puts a recall behind the port that is under test, and waits until it is warm."""
    async with AsyncExitStack() as stack:

        async def port(recall: EmbeddedRecall) -> RecallPort:
            stack.push_async_callback(recall.aclose)
            recall.start()
            async with asyncio.timeout(PATIENCE_S):
                while (await recall.ready())["index"] != "ok":
                    await asyncio.sleep(0.01)
            if request.param == "embedded":
                return recall
            stage, url = stages[0]
            stage.app = create_recall(recall, Telemetry())
            client = RecallClient(http_client(url, 60))
            stack.push_async_callback(client.aclose)
            return client

        yield port


both = pytest.mark.parametrize("over", ["embedded", "http"], indirect=True)


def late_scores(found: Recalled) -> dict[str, float]:
    return {each.passage.passage_id: each.stages["late"].score for each in found.candidates if "late" in each.stages}


@both
async def test_candidates_have_the_scores_of_direct_max_sim_from_the_first_search_on(
    over: Over, tmp_path: Path
) -> None:
    port = await over(recall_over(tmp_path, lambda spec: LATE))
    found = await port.recall(RecallRequest("docs", QUERY))
    assert found.degraded == ()
    texts = [each.passage.full_text for each in found.candidates]
    assert list(late_scores(found).values()) == LATE.encode(texts).scores(LATE.query(QUERY)).tolist()
    assert "late" in found.timings_ms
    unasked = await port.recall(RecallRequest("docs", QUERY, late=False))
    assert late_scores(unasked) == {}
    assert [each.passage for each in unasked.candidates] == [each.passage for each in found.candidates]
    assert "late" not in unasked.timings_ms
    plain = await port.recall(RecallRequest("plain", QUERY))
    assert (late_scores(plain), plain.degraded) == ({}, ())


@both
async def test_a_query_in_a_language_that_the_model_does_not_read_lacks_nothing(over: Over, tmp_path: Path) -> None:
    port = await over(recall_over(tmp_path, lambda spec: English()))
    assert late_scores(await port.recall(RecallRequest("docs", QUERY)))
    found = await port.recall(RecallRequest("docs", "如何启动服务器 server"))
    assert found.candidates
    assert (late_scores(found), found.degraded) == ({}, ())


@both
async def test_a_model_that_is_missing_is_named_and_takes_nothing_else_away(over: Over, tmp_path: Path) -> None:
    port = await over(recall_over(tmp_path, gone))
    found, plain = [await port.recall(RecallRequest(name, QUERY)) for name in ("docs", "plain")]
    assert found.degraded == ("late",)
    assert [each.passage for each in found.candidates] == [each.passage for each in plain.candidates]
    assert (await port.recall(RecallRequest("docs", QUERY, late=False))).degraded == ()
    with pytest.raises(ModelMissing):
        await port.write("docs", [put("a", "lighthouse")])
    assert (await port.write("docs", [Remove("guide/install.md")])).outcomes[0].accepted


@both
async def test_without_time_the_lowest_rung_is_left(over: Over, tmp_path: Path) -> None:
    port = await over(recall_over(tmp_path, lambda spec: LATE))
    found = await port.recall(RecallRequest("docs", QUERY, deadline_ms=0.0))
    assert found.candidates
    assert set(found.degraded) == {"dense", "late"}


@both
async def test_a_collection_is_made_with_the_model_that_is_named_or_the_server_s_own(
    over: Over, tmp_path: Path
) -> None:
    port = await over(recall_over(tmp_path, lambda spec: FakeLate(model=spec.model), default="own"))
    models: dict[str | None, str] = {None: "own", "": "", "offered": "offered", "own": "own"}
    for number, (named, model) in enumerate(models.items()):
        name = f"made-{number}"
        assert await port.create(name, NewCollection(late=named)) is True
        assert await port.create(name, NewCollection(late=named)) is False
        assert await port.create(name, NewCollection()) is False
        assert (await port.view(name, PUBLIC)).late == model
        await port.write(name, [put("a", "The lighthouse is lit at dusk.")])
        found = await port.recall(RecallRequest(name, "lighthouse"))
        assert (bool(late_scores(found)), found.degraded) == (bool(model), ())
        with pytest.raises(Conflict):
            await port.create(name, NewCollection(late="" if model else "own"))
    with pytest.raises(InvalidRequest, match="late: 'other' is none that this server offers"):
        await port.create("refused", NewCollection(late="other"))
