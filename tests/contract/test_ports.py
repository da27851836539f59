"""One suite for both ports: fakes, in this process, and over HTTP to services behind real sockets."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.errors import (
    CollectionNotFound,
    DocumentNotFound,
    InvalidRequest,
    ModelMissing,
    Overloaded,
    Unauthorized,
    Unavailable,
)
from retrieval.fusion import FusionMethod, Normalisation, fuse
from retrieval.store import CollectionStore
from retrieval.types import Candidate, Document, Encoder, Hits
from services.auth import token_door
from services.clients import RankClient, RecallClient, http_client
from services.embed.app import create_app as create_embed
from services.embedded import EmbeddedRecall
from services.pool import Pool
from services.ports import NewCollection, RankPort, RecallRequest, Remove
from services.rank.app import create_app as create_rank
from services.recall.app import create_app as create_recall
from services.shelf import EncoderShelf
from services.telemetry import Telemetry
from tests.contract.conftest import PUBLIC, Ports, embedded_rank, embedded_recall, put, write
from tests.fake_models import FakeEncoder, FakeReranker
from tests.fakes import DOCUMENTS
from tests.live import free_port, served
from tests.shared_models import PEERS, shared_encoder


async def candidates(ports: Ports, query: str = "start the server") -> tuple[Candidate, ...]:
    return (await ports.recall.recall(RecallRequest("docs", query))).candidates


async def test_collections_are_listed_by_name(ports: Ports) -> None:
    listed = await ports.recall.collections(PUBLIC)
    assert [view.info.name for view in listed] == ["docs", "empty"]
    assert listed[0].info == await ports.recall.describe("docs")
    assert listed[0] == await ports.recall.view("docs", PUBLIC)
    assert listed[0].info.documents == len(DOCUMENTS)
    assert listed[1].info.documents == 0


async def test_a_generation_carries_its_collections_name(ports: Ports) -> None:
    assert (await ports.recall.describe("docs")).generation.startswith("docs@")


async def test_recall_gives_fused_candidates_best_first_of_the_generation_described(ports: Ports) -> None:
    recalled = await ports.recall.recall(RecallRequest("docs", "how to start the server"))
    assert recalled.info == await ports.recall.describe("docs")
    assert recalled.degraded == ()
    scores = [candidate.score for candidate in recalled.candidates]
    assert scores == sorted(scores, reverse=True)
    assert len({candidate.passage.passage_id for candidate in recalled.candidates}) == len(scores) > 0
    assert recalled.candidates[0].passage.document_id == "guide/install.md"
    for rank, candidate in enumerate(recalled.candidates, start=1):
        assert candidate.scored_by == "fused"
        assert candidate.stages["fused"].rank == rank
        assert candidate.stages["fused"].score == candidate.score
    assert {"lexical", "fuse"} <= set(recalled.timings_ms)


@pytest.mark.parametrize(
    ("method", "normalisation"), [("rrf", "min-max"), ("weighted", "min-max"), ("weighted", "z"), ("dbsf", "min-max")]
)
async def test_channels_are_fused_as_it_was_asked_and_no_hit_of_any_is_lost(
    ports: Ports, method: FusionMethod, normalisation: Normalisation
) -> None:
    request = RecallRequest("docs", "a query is words", fusion=method, rrf_k=7, normalisation=normalisation)
    found = (await ports.recall.recall(request)).candidates
    channels: dict[str, Hits] = {}
    for channel in ("lexical", "dense"):
        seen = sorted((each.stages[channel].rank, at) for at, each in enumerate(found) if channel in each.stages)
        assert [rank for rank, _ in seen] == list(range(1, len(seen) + 1))
        scores = [found[at].stages[channel].score for _, at in seen]
        channels[channel] = Hits(np.array([at for _, at in seen], np.int64), np.array(scores, np.float32))
    fused = fuse(channels, method, k=7, normalisation=normalisation)
    expected = dict(zip(fused.rows.tolist(), fused.scores.tolist(), strict=True))
    assert [each.score for each in found] == pytest.approx([expected[at] for at in range(len(found))])
    assert all(each.score > 0 for each in found)


async def test_a_passage_is_the_stretch_of_its_document_that_its_offsets_name(ports: Ports) -> None:
    for candidate in await candidates(ports, "query words passages server answer"):
        passage = candidate.passage
        document = await ports.recall.document("docs", passage.document_id, PUBLIC)
        assert document.text[slice(*passage.offsets)] == passage.text
        assert passage.title == document.title
        assert dict(passage.metadata) == dict(document.metadata)


async def test_an_empty_collection_has_no_candidates(ports: Ports) -> None:
    assert (await ports.recall.recall(RecallRequest("empty", "anything"))).candidates == ()


async def test_a_deadline_that_has_passed_still_gives_the_lowest_rung(ports: Ports) -> None:
    recalled = await ports.recall.recall(RecallRequest("docs", "start the server", deadline_ms=0.0))
    assert recalled.candidates
    assert set(recalled.degraded) <= {"dense"}


async def test_documents_come_back_whole_whatever_their_ids_hold(ports: Ports) -> None:
    for document in DOCUMENTS:
        assert await ports.recall.document("docs", document.document_id, PUBLIC) == replace(
            document, metadata=dict(document.metadata), version=1
        )


async def test_an_unknown_document_is_said_to_be_unknown(ports: Ports) -> None:
    for document_id in ("nowhere.md", "guide", "guide/", "../docs", ".", "..", "a b%2F?#", "文档", "x" * 500):
        with pytest.raises(DocumentNotFound):
            await ports.recall.document("docs", document_id, PUBLIC)


async def test_an_unknown_collection_is_said_to_be_unknown(ports: Ports) -> None:
    with pytest.raises(CollectionNotFound, match="nowhere"):
        await ports.recall.describe("nowhere")
    with pytest.raises(CollectionNotFound, match="nowhere"):
        await ports.recall.recall(RecallRequest("nowhere", "x"))
    with pytest.raises(CollectionNotFound):
        await ports.recall.document("nowhere", "x", PUBLIC)
    with pytest.raises(CollectionNotFound):
        await ports.recall.drop("nowhere")
    with pytest.raises(CollectionNotFound):
        await ports.recall.view("nowhere", PUBLIC)
    with pytest.raises(CollectionNotFound):
        await ports.recall.write("nowhere", [Remove("x")])
    with pytest.raises(CollectionNotFound):
        await ports.recall.set_alias("current", "nowhere")
    with pytest.raises(CollectionNotFound):
        await ports.recall.remove_alias("current")


async def test_a_dropped_collection_is_gone(ports: Ports) -> None:
    await ports.recall.drop("docs")
    with pytest.raises(CollectionNotFound):
        await ports.recall.describe("docs")
    assert [view.info.name for view in await ports.recall.collections(PUBLIC)] == ["empty"]


async def test_ranking_keeps_every_candidate_and_scores_the_first(ports: Ports) -> None:
    given = await candidates(ports, "query words passages server answer")
    ranked = await ports.rank.rank("start the server", given, depth=2, deadline_ms=None)
    assert ranked.degraded == ()
    assert sorted(c.passage.passage_id for c in ranked.candidates) == sorted(c.passage.passage_id for c in given)
    assert [c.scored_by for c in ranked.candidates] == ["rerank"] * 2 + ["fused"] * (len(given) - 2)
    assert {c.passage.passage_id for c in ranked.candidates[:2]} == {c.passage.passage_id for c in given[:2]}
    assert ranked.candidates[2:] == given[2:]
    for rank, candidate in enumerate(ranked.candidates[:2], start=1):
        assert candidate.stages["rerank"].rank == rank
    assert "rerank" in ranked.timings_ms


async def test_reading_scores_the_first_and_moves_nothing(ports: Ports) -> None:
    given = await candidates(ports, "query words passages server answer")
    found = await ports.rank.read("start the server", given, depth=2, whole=False, deadline_ms=None)
    assert found.degraded == ()
    assert [each.passage for each in found.candidates] == [each.passage for each in given]
    assert ["rerank" in each.stages for each in found.candidates] == [True] * 2 + [False] * (len(given) - 2)
    assert [each.score for each in found.candidates] == [each.score for each in given]
    assert {each.stages["rerank"].rank for each in found.candidates[:2]} == {1, 2}
    assert "rerank" in found.timings_ms


async def test_no_time_for_reading_leaves_all_unread_and_says_so(ports: Ports) -> None:
    given = await candidates(ports)
    found = await ports.rank.read("start the server", given, depth=20, whole=True, deadline_ms=0.0)
    assert found.candidates == given
    assert found.degraded == ("rerank",)


async def test_no_time_for_ranking_leaves_the_order_and_says_so(ports: Ports) -> None:
    given = await candidates(ports)
    ranked = await ports.rank.rank("start the server", given, depth=20, deadline_ms=0.0)
    assert ranked.candidates == given
    assert ranked.degraded == ("rerank",)


async def test_ranking_nothing_is_nothing(ports: Ports) -> None:
    assert (await ports.rank.rank("x", (), depth=20, deadline_ms=None)).candidates == ()


async def test_the_pipeline_has_a_version(ports: Ports) -> None:
    assert ports.rank.version


async def test_parts_are_ready_soon(ports: Ports) -> None:
    while set((await ports.recall.ready()).values()) != {"ok"}:
        await asyncio.sleep(0.01)
    assert set((await ports.rank.ready()).values()) == {"ok"}


async def test_many_at_once_get_what_one_gets(ports: Ports) -> None:
    queries = ["start the server", "query words", "empty answer"] * 5
    alone = [await candidates(ports, query) for query in queries[:3]]
    together = await asyncio.gather(*(candidates(ports, query) for query in queries))
    assert together == alone * 5


class NotANumber(FakeReranker):
    """A reranker whose weights have gone wrong."""

    def score(self, query: str, texts: Sequence[str], deadline: float | None = None) -> NDArray[np.float32]:
        return np.full(len(texts), math.nan, np.float32)


@pytest.mark.parametrize("far", [False, True], ids=["embedded", "http"])
async def test_scores_that_are_no_numbers_are_no_ranking(far: bool, tmp_path: Path) -> None:
    write(CollectionStore(tmp_path))
    recall, rank = embedded_recall(tmp_path), embedded_rank(NotANumber())
    given = await candidates(Ports(recall, rank))
    async with AsyncExitStack() as stack:
        port: RankPort = rank
        if far:
            server = stack.enter_context(served(create_rank(rank, Telemetry())))
            client = RankClient(http_client(server.url, 60))
            stack.push_async_callback(client.aclose)
            port = client
        with pytest.raises(Unavailable, match="no number"):
            await port.rank("start the server", given, depth=20, deadline_ms=None)
    await recall.aclose()
    await rank.aclose()


class Slow(FakeReranker):
    """A reranker that waits until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()
        self.may_go_on = threading.Event()

    def score(self, query: str, texts: Sequence[str], deadline: float | None = None) -> NDArray[np.float32]:
        self.begun.set()
        self.may_go_on.wait(60)
        return super().score(query, texts, deadline)


@pytest.mark.parametrize("far", [False, True], ids=["embedded", "http"])
async def test_a_full_queue_refuses_at_once_and_serves_those_inside(far: bool, tmp_path: Path) -> None:
    write(CollectionStore(tmp_path))
    slow = Slow()
    recall, rank = embedded_recall(tmp_path), embedded_rank(slow, queue=1)
    given = await candidates(Ports(recall, rank))
    async with AsyncExitStack() as stack:
        port: RankPort = rank
        if far:
            server = stack.enter_context(served(create_rank(rank, Telemetry())))
            client = RankClient(http_client(server.url, 60))
            stack.push_async_callback(client.aclose)
            port = client

        async def ranked() -> None:
            await port.rank("start the server", given, depth=20, deadline_ms=None)

        async def ranked_in_the_end() -> None:
            # One of the calls below may hold the place in the queue at first.
            while True:
                try:
                    return await ranked()
                except Overloaded:
                    await asyncio.sleep(0.05)

        running = asyncio.create_task(ranked())
        await asyncio.to_thread(slow.begun.wait, 60)
        waiting = asyncio.create_task(ranked_in_the_end())
        refused: Overloaded | None = None
        while refused is None:
            try:
                # Until the second is in the queue, this one may be let in, and its caller gives up.
                await asyncio.wait_for(ranked(), 0.2)
            except TimeoutError:
                continue
            except Overloaded as error:
                refused = error
        assert refused.stage == "rerank"
        assert refused.retry_after_ms
        slow.may_go_on.set()
        await asyncio.gather(running, waiting)
    await recall.aclose()
    await rank.aclose()


async def test_nobody_there_is_unavailable_and_then_not_even_asked() -> None:
    recall = RecallClient(http_client(f"http://127.0.0.1:{free_port()}", 5))
    for _ in range(5):
        with pytest.raises(Unavailable, match="does not answer") as refused:
            await recall.describe("docs")
        assert refused.value.stage == "recall"
    assert "does not answer" in (await recall.ready())["recall"]
    await recall.aclose()


async def test_a_service_that_is_too_slow_for_the_deadline_is_unavailable(tmp_path: Path) -> None:
    write(CollectionStore(tmp_path))
    slow = Slow()
    recall, rank = embedded_recall(tmp_path), embedded_rank(slow)
    given = await candidates(Ports(recall, rank))
    with served(create_rank(rank, Telemetry())) as server:
        client = RankClient(http_client(server.url, 60))
        with pytest.raises(Unavailable):
            await client.rank("start the server", given, depth=20, deadline_ms=50.0)
        slow.may_go_on.set()
        await client.aclose()
    await recall.aclose()
    await rank.aclose()


async def test_somebody_else_at_the_address_is_unavailable() -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(other, "127.0.0.1", 0)
    http: httpx.AsyncClient = http_client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", 60)
    recall = RecallClient(http)
    with pytest.raises(Unavailable, match="cannot be read"):
        await recall.describe("docs")
    assert "something else" in (await recall.ready())["recall"]
    await recall.aclose()
    server.close()
    await server.wait_closed()


async def test_an_encoder_that_is_missing_or_still_loads_leaves_the_lexical_channel(tmp_path: Path) -> None:
    write(CollectionStore(tmp_path))
    may_load = threading.Event()

    def load(name: str) -> Encoder:
        may_load.wait(60)
        return FakeEncoder()

    recall = EmbeddedRecall(
        CollectionStore(tmp_path), EncoderShelf("fake-encoder", load), "docs", Pool("recall", workers=1, queue=1)
    )
    recall.start()
    early = await recall.recall(RecallRequest("docs", "start the server"))
    assert early.degraded == ("dense",)
    assert early.candidates
    assert (await recall.ready())["encoder"] == "loading"
    may_load.set()
    while set((await recall.ready()).values()) != {"ok"}:
        await asyncio.sleep(0.01)
    assert (await recall.recall(RecallRequest("docs", "start the server"))).degraded == ()
    await recall.aclose()


async def test_a_new_generation_is_seen_by_the_next_search(tmp_path: Path) -> None:
    store = CollectionStore(tmp_path)
    write(store)
    recall = embedded_recall(tmp_path)
    before = await recall.describe("docs")
    write(CollectionStore(tmp_path), "docs", [Document("more.md", "words of another process")])
    after = (await recall.recall(RecallRequest("docs", "query words"))).info
    assert after.generation != before.generation
    assert after.documents == len(DOCUMENTS) + 1
    await recall.aclose()


def vector(*numbers: float) -> bytes:
    return np.asarray(numbers, "<f4").tobytes()


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[EmbeddedRecall]:
    """An embedded port over an empty collection of three dimensions."""
    recall = embedded_recall(tmp_path, FakeEncoder(3))
    await recall.create("docs", NewCollection())
    yield recall
    await recall.aclose()


async def test_a_row_with_its_own_vector_is_one_passage_of_that_direction(
    small: EmbeddedRecall, tmp_path: Path
) -> None:
    texts = "First words.\n\nThen others.\n\n" * 200
    await small.write("docs", [put("a", texts, vector=vector(3, 0, 4)), put("b", texts)])
    snapshot = CollectionStore(tmp_path).open("docs").snapshot()
    chunks = {
        document.document_id: cut
        for each in snapshot.parts()
        for document, cut in zip(each.documents, each.chunks, strict=True)
    }
    assert [(each.start, each.end) for each in chunks["a"]] == [(0, len(texts.strip()))]
    assert len(chunks["b"]) > 1
    hits = snapshot.dense(np.asarray([0.6, 0, 0.8], np.float32), 1)
    assert snapshot.passages(hits.rows)[0].document_id == "a"
    assert hits.scores[0] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (vector(1, 2), "2 numbers, and the collection's vectors have 3"),
        (vector(0, 0, 0), "points anywhere"),
        (vector(1, np.nan, 0), "points anywhere"),
        (vector(1, np.inf, 0), "points anywhere"),
        (b"", "0 numbers"),
    ],
)
async def test_a_vector_that_cannot_be_stored_is_refused_alone(small: EmbeddedRecall, given: bytes, said: str) -> None:
    written = await small.write("docs", [put("a", "x", vector=given), put("b", "y", vector=vector(1, 0, 0))])
    assert [each.status for each in written.outcomes] == [422, 201]
    assert said in written.outcomes[0].reason


async def test_an_encoder_that_is_not_there_refuses_the_whole_batch_and_not_rows_with_vectors(tmp_path: Path) -> None:
    write(CollectionStore(tmp_path))
    may_load = threading.Event()

    def load(name: str) -> Encoder:
        may_load.wait(60)
        raise ModelMissing("the encoder is not on this disk")

    shelf = EncoderShelf("fake-encoder", load)
    recall = EmbeddedRecall(CollectionStore(tmp_path), shelf, "docs", Pool("recall", workers=1, queue=1))
    before = await recall.describe("docs")
    brought = put("a", "lighthouse", vector=vector(*range(1, 65)))
    with pytest.raises(Unavailable, match="loading"):
        await recall.write("docs", [brought, put("b", "x")])
    may_load.set()
    with pytest.raises(ModelMissing):
        shelf.wait("fake-encoder")
    with pytest.raises(ModelMissing):
        await recall.write("docs", [brought, put("b", "x"), Remove("guide/install.md")])
    assert await recall.describe("docs") == before
    assert [each.status for each in (await recall.write("docs", [brought])).outcomes] == [201]
    await recall.aclose()


async def test_an_encoder_that_fails_refuses_the_whole_batch(tmp_path: Path) -> None:
    write(CollectionStore(tmp_path))
    encoder = FakeEncoder(fail_with=Unavailable("the embed service is away", stage="embed"))
    recall = embedded_recall(tmp_path, encoder)
    before = await recall.describe("docs")
    with pytest.raises(Unavailable, match="embed service"):
        await recall.write("docs", [put("a", "x"), Remove("guide/install.md")])
    assert await recall.describe("docs") == before
    await recall.aclose()


async def test_an_encoder_is_chosen_from_those_that_are_offered(tmp_path: Path) -> None:
    shelf = EncoderShelf("fake-encoder", lambda name: FakeEncoder(name=name))
    shelf.wait("fake-encoder")
    shelf.wait("other")
    pool = Pool("recall", workers=1, queue=1)
    recall = EmbeddedRecall(CollectionStore(tmp_path), shelf, "docs", pool, offered=lambda name: name == "other")
    assert await recall.create("a", NewCollection(encoder="other")) is True
    assert (await recall.describe("a")).encoder == "other"
    for name in ("openai:http://127.0.0.1:1#m", "some/hub-model", "folder/model"):
        with pytest.raises(InvalidRequest, match="none that this server offers"):
            await recall.create("b", NewCollection(encoder=name))
    with pytest.raises(CollectionNotFound):
        await recall.describe("b")
    await recall.aclose()


async def test_control_characters_of_a_text_are_left_out(small: EmbeddedRecall) -> None:
    written = await small.write("docs", [put("a", "one\x00 two\r\nthree"), put("b", "\x00\x01")])
    assert [each.status for each in written.outcomes] == [201, 422]
    assert (await small.document("docs", "a", PUBLIC)).text == "one two\nthree"


async def test_services_that_share_a_secret_answer_nobody_else(tmp_path: Path) -> None:
    write(CollectionStore(tmp_path))
    recall, rank = embedded_recall(tmp_path), embedded_rank()
    door = token_door("the secret")
    for app in (
        create_recall(recall, Telemetry(), door=door),
        create_rank(rank, Telemetry(), door=door),
        create_embed(shared_encoder(), lambda: FakeEncoder().spec, lambda: "ok", Telemetry(), PEERS, door=door),
    ):
        with served(app) as server, httpx.Client(base_url=server.url, trust_env=False) as http:
            for path in ("/v1/collections/docs", "/v1/pipeline", "/embed", "/v1/spec"):
                for headers in ({}, {"Authorization": "Bearer another"}, {"Authorization": "Basic the secret"}):
                    assert http.get(path, headers=headers).status_code == 401
            assert http.get("/livez").status_code == 200
    with served(create_recall(recall, Telemetry(), door=door)) as server:
        for token, welcome in (("the secret", True), ("", False), ("another", False)):
            client = RecallClient(http_client(server.url, 60, token))
            if welcome:
                assert (await client.describe("docs")).name == "docs"
            else:
                with pytest.raises(Unauthorized, match=r"services\.token"):
                    await client.describe("docs")
            await client.aclose()
    await recall.aclose()
    await rank.aclose()
