"""What the models behind the interfaces of others promise, in this process and behind a service of ours."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import numpy as np
import pytest

from retrieval.encoders import unit
from retrieval.errors import InvalidRequest, ModelMissing, Overloaded, RiddleError, TooLarge, Unavailable
from services.batcher import Batch
from services.clients import http_client
from services.embed.app import create_app as create_embed
from services.peers.hops import EmbedClient, ScoreClient
from services.peers.limits import PeerSettings
from services.peers.ports import EmbedCall, Embedded, EmbedPort, ScoreCall, ScorePort, ServedModel
from services.peers.sharing import SharedEncoder
from services.rank.app import create_app as create_rank
from services.telemetry import Telemetry
from tests.contract.conftest import embedded_rank
from tests.fake_models import FakeEncoder, FakePairs
from tests.live import free_port, served
from tests.shared_models import ENCODER, PEERS, RERANKER, ignored, shared_encoder, shared_reranker

LONG = "word " * 600


@dataclass
class Models:
    embed: EmbedPort
    scores: ScorePort
    encoder: FakeEncoder
    pairs: FakePairs
    batches: list[tuple[str, Batch]]


@pytest.fixture(params=["here", "http"])
async def models(request: pytest.FixtureRequest) -> AsyncIterator[Models]:
    encoder, pairs, batches = FakeEncoder(), FakePairs(), list[tuple[str, Batch]]()

    def observe(stage: str, batch: Batch) -> None:
        batches.append((stage, batch))

    settings = replace(PEERS, batch_wait_ms=20.0, queue_tokens=5000)
    embed, scores = shared_encoder(encoder, settings, observe), shared_reranker(pairs, settings, observe)
    if request.param == "here":
        yield Models(embed, scores, encoder, pairs, batches)
        await embed.aclose()
        await scores.aclose()
        return
    rank = embedded_rank()
    embed_app = create_embed(embed, lambda: encoder.spec, lambda: "ok", Telemetry(), settings)
    with served(embed_app) as one, served(create_rank(rank, Telemetry(), scores, settings)) as other:
        far = EmbedClient(http_client(one.url, 60), 60), ScoreClient(http_client(other.url, 60), 60)
        yield Models(*far, encoder, pairs, batches)
        await far[0].aclose()
        await far[1].aclose()
        one.run(embed.aclose())
        other.run(scores.aclose())
    await rank.aclose()


async def test_the_models_say_who_they_are(models: Models) -> None:
    assert await models.embed.model() == ENCODER
    assert await models.scores.model() == RERANKER


async def test_vectors_are_those_of_the_encoder_and_tokens_those_of_its_tokenizer(models: Models) -> None:
    texts = ("start the server", "a query is words", "")
    found = await models.embed.embed(EmbedCall(texts, "passage"))
    assert np.allclose(unit(found.vectors), models.encoder.encode(texts, "passage"), atol=1e-6)
    assert (found.dimension, found.tokens) == (64, 5 + 6 + 2)


async def test_scores_are_those_of_the_reranker_in_the_order_of_the_texts(models: Models) -> None:
    found = await models.scores.score(ScoreCall("start server", ("the server", "start the server now", "no")))
    assert found.logits == (0.0, 4.0, -4.0)
    assert found.tokens == (2 + 2 + 3) + (2 + 4 + 3) + (2 + 1 + 3)


async def test_a_text_that_is_too_long_is_cut_or_refused_as_the_caller_says(models: Models) -> None:
    assert (await models.embed.embed(EmbedCall((LONG,), truncate=True))).tokens == 512
    with pytest.raises(InvalidRequest, match="text 1 is of 602 tokens, and fake-encoder reads 512"):
        await models.embed.embed(EmbedCall(("short", LONG)))
    assert (await models.scores.score(ScoreCall("a b", (LONG,)))).tokens == 64
    with pytest.raises(InvalidRequest, match="query and text 0 is of 512 or more tokens, and fake-reranker reads 64"):
        await models.scores.score(ScoreCall("a b", (LONG,), truncate=False))


async def test_of_a_text_no_more_is_read_than_the_caller_says(models: Models) -> None:
    found = await models.scores.score(ScoreCall("one", ("zero one", "one"), text_tokens=1))
    assert found.logits == (-4.0, 4.0)
    assert found.tokens == 2 * (1 + 1 + 3)


async def test_callers_who_come_together_share_a_batch(models: Models) -> None:
    await models.embed.model()  # loaded, so that nobody waits for that
    asked = [models.embed.embed(EmbedCall((f"text {number}",))) for number in range(6)]
    found = await asyncio.gather(*asked)
    for number, each in enumerate(found):
        assert np.allclose(unit(each.vectors), models.encoder.encode([f"text {number}"], "passage"), atol=1e-6)
    assert len(models.batches) < 6
    assert sum(batch.callers for _, batch in models.batches) == 6
    assert {stage for stage, _ in models.batches} == {"embed"}


async def test_what_the_queue_can_never_hold_is_too_large(models: Models) -> None:
    with pytest.raises(TooLarge, match="5,120 tokens"):
        await models.embed.embed(EmbedCall((LONG,) * 10, truncate=True))


@pytest.mark.parametrize("error", [Unavailable("gone", stage="embed"), ModelMissing("damaged")])
async def test_what_the_model_raises_reaches_the_caller_as_it_is(models: Models, error: RiddleError) -> None:
    models.encoder.fail_with = models.pairs.fail_with = error
    for asked in (models.embed.embed(EmbedCall(("a",))), models.scores.score(ScoreCall("a", ("b",)))):
        with pytest.raises(type(error), match=error.detail):
            await asked
    models.encoder.fail_with = None
    assert (await models.embed.embed(EmbedCall(("a",)))).tokens == 3


async def test_a_service_that_is_gone_is_unavailable() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    embed, scores = EmbedClient(http_client(url, 5), 5), ScoreClient(http_client(url, 5), 5)
    for asked in (embed.model(), embed.embed(EmbedCall(("a",))), scores.model(), scores.score(ScoreCall("a", ("b",)))):
        with pytest.raises(Unavailable, match="does not answer"):
            await asked
    await embed.aclose()
    await scores.aclose()


async def test_a_model_that_could_not_be_loaded_is_tried_again_for_the_next_caller() -> None:
    tries: list[int] = []

    def load() -> tuple[FakeEncoder, ServedModel]:
        tries.append(1)
        if len(tries) == 1:
            raise ModelMissing("pull it")
        return FakeEncoder(), ENCODER

    embed = SharedEncoder(load, PEERS, ignored)
    with pytest.raises(ModelMissing, match="pull it"):
        await embed.model()
    assert await embed.model() == ENCODER
    assert (await embed.embed(EmbedCall(("a",)))).tokens == 3
    assert len(tries) == 2
    await embed.aclose()


async def test_a_model_that_takes_too_long_to_load_is_unavailable() -> None:
    loading = threading.Event()

    def load() -> tuple[FakeEncoder, ServedModel]:
        loading.wait(60)
        return FakeEncoder(), ENCODER

    embed = SharedEncoder(load, replace(PEERS, timeout_s=0.05), ignored)
    with pytest.raises(Unavailable, match="was not there in time") as late:
        await embed.embed(EmbedCall(("a",)))
    assert late.value.retry_after_ms
    loading.set()
    await embed.aclose()


async def test_a_full_queue_refuses_the_next_caller_and_serves_the_others() -> None:
    settings = PeerSettings(queue_tokens=9, batch_tokens=9, batch_wait_ms=500.0)
    embed = shared_encoder(settings=settings)
    await embed.model()
    calls = [embed.embed(EmbedCall((text,))) for text in ("one two three", "one two three four")]
    found = await asyncio.gather(*calls, return_exceptions=True)
    (refused,) = [each for each in found if isinstance(each, Overloaded)]
    assert refused.retry_after_ms
    assert [each.tokens for each in found if isinstance(each, Embedded)] in ([5], [6])
    await embed.aclose()


async def test_settings_that_mean_nothing_are_refused() -> None:
    for broken in ({"max_texts": 0}, {"queue_tokens": 0}, {"batch_wait_ms": -1.0}, {"timeout_s": 0.0}):
        with pytest.raises(ValueError, match=r"must be at least 1|cannot be negative"):
            PeerSettings(**broken)
