"""Real models shared by many callers: the same figures as alone, counted by the model's own tokenizer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import numpy as np
import pytest

from ranking.pairs import open_pair_scorer
from retrieval.encoders import open_encoder, unit
from retrieval.errors import InvalidRequest
from retrieval.models import read_model
from services.batcher import Batch
from services.peers.limits import PeerSettings
from services.peers.opening import served_model
from services.peers.ports import EmbedCall, ScoreCall
from services.peers.reranking import ranked
from services.peers.sharing import SharedEncoder, SharedReranker
from tests.requires import need

pytestmark = pytest.mark.slow

SETTINGS = PeerSettings(batch_tokens=2048, batch_wait_ms=20.0)
WORDS = ("branch", "commit", "undo", "merge", "index", "tree", "server", "start", "query", "rank", "the", "of")
QUERY = "How do I undo the last git commit?"
ANSWER = "To undo the last commit and keep its changes, run git reset --soft HEAD~1."


def texts(seed: int, count: int) -> tuple[str, ...]:
    draw = random.Random(seed)
    return tuple(" ".join(draw.choices(WORDS, k=draw.randint(3, 60))) for _ in range(count))


@pytest.fixture
async def encoder() -> AsyncIterator[tuple[SharedEncoder, list[Batch]]]:
    files, seen = read_model(need.model("bge-small-en-v1.5")), list[Batch]()
    held = open_encoder(files, runtime="onnxruntime", threads=1)
    shared = SharedEncoder(
        lambda: (held, served_model(files, "encoder", ())),  # type: ignore[arg-type,return-value]
        SETTINGS,
        lambda _, batch: seen.append(batch),
    )
    yield shared, seen
    await shared.aclose()


@pytest.fixture
async def reranker() -> AsyncIterator[tuple[SharedReranker, list[Batch]]]:
    files, seen = read_model(need.model("ms-marco-minilm-l12-v2")), list[Batch]()
    shared = SharedReranker(
        lambda: (open_pair_scorer(files, threads=1), served_model(files, "reranker", ())),
        SETTINGS,
        lambda _, batch: seen.append(batch),
    )
    yield shared, seen
    await shared.aclose()


async def test_vectors_of_callers_who_share_batches_are_those_of_each_alone(
    encoder: tuple[SharedEncoder, list[Batch]],
) -> None:
    shared, seen = encoder
    asked = [EmbedCall(texts(seed, 4), "passage") for seed in range(12)]
    alone = [await shared.embed(call) for call in asked]
    seen.clear()
    together = await asyncio.gather(*(shared.embed(call) for call in asked))
    assert len(seen) < len(asked)
    assert max(batch.callers for batch in seen) > 1
    for one, other in zip(alone, together, strict=True):
        # Dynamic quantisation scales by the whole batch, so company moves a vector by a little.
        assert (unit(one.vectors) * unit(other.vectors)).sum(axis=1).min() > 0.98
        assert one.tokens == other.tokens


async def test_tokens_are_counted_by_the_models_own_tokenizer(encoder: tuple[SharedEncoder, list[Batch]]) -> None:
    shared, _ = encoder
    assert (await shared.embed(EmbedCall(("hello world", "git")))).tokens == 4 + 4  # the vocabulary has "gi" and "##t"
    model = await shared.model()
    assert model.max_tokens == 512
    assert model.answers_to("BAAI/bge-small-en-v1.5")
    with pytest.raises(InvalidRequest, match=r"text 0 is of 602 tokens, and bge-small-en-v1\.5 reads 512"):
        await shared.embed(EmbedCall(("word " * 600,)))
    assert (await shared.embed(EmbedCall(("word " * 600,), truncate=True))).tokens == 512


async def test_scores_of_callers_who_share_batches_are_those_of_each_alone(
    reranker: tuple[SharedReranker, list[Batch]],
) -> None:
    shared, seen = reranker
    asked = [ScoreCall(QUERY, (*texts(seed, 5), ANSWER)) for seed in range(8)]
    alone = [await shared.score(call) for call in asked]
    seen.clear()
    together = await asyncio.gather(*(shared.score(call) for call in asked))
    assert len(seen) < len(asked) + sum(call.tokens for call in alone) // SETTINGS.batch_tokens
    assert max(batch.callers for batch in seen) > 1
    for one, other in zip(alone, together, strict=True):
        assert np.allclose(one.logits, other.logits, atol=0.05)
        assert ranked(other)[0][0] == 5
        assert ranked(other)[0][1] > 0.9


async def test_a_large_request_does_not_hold_up_a_small_one(reranker: tuple[SharedReranker, list[Batch]]) -> None:
    shared, _ = reranker
    await shared.model()
    done: list[str] = []

    async def ask(name: str, call: ScoreCall) -> None:
        await shared.score(call)
        done.append(name)

    large = asyncio.create_task(ask("large", ScoreCall(QUERY, texts(1, 400))))
    small = asyncio.create_task(ask("small", ScoreCall(QUERY, (ANSWER,))))
    await asyncio.gather(large, small)
    assert done == ["small", "large"]
