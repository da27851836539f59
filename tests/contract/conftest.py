"""Both ports in each of their kinds: fakes, in this process, and over HTTP to services behind real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ranking.pipeline import RankPipeline, RankSettings
from retrieval.batch import write_generation
from retrieval.store import CollectionStore
from retrieval.types import Document, Encoder, Reranker
from services.clients import RankClient, RecallClient, http_client
from services.embedded import EmbeddedRecall
from services.embedded_rank import EmbeddedRank
from services.pool import Pool
from services.ports import Put, RankPort, RecallPort, Rights
from services.rank.app import create_app as create_rank
from services.recall.app import create_app as create_recall
from services.shelf import EncoderShelf
from services.spelling import Spelling
from services.telemetry import Telemetry
from tests.fake_models import FakeEncoder, FakeReranker
from tests.fakes import DOCUMENTS, FakeRank, FakeRecall
from tests.live import Stage, served
from tests.parts import part

KINDS = ("fake", "embedded", "http")


def write(store: CollectionStore, name: str = "docs", documents: Sequence[Document] = DOCUMENTS) -> None:
    parts = [part(documents)] if documents else []
    write_generation(store, name, parts, encoder=FakeEncoder().spec)


def embedded_recall(
    root: Path, encoder: Encoder | None = None, queue: int = 64, spelling: Spelling | None = None
) -> EmbeddedRecall:
    """Over the collections below ``root``, its models loaded."""
    shelf = EncoderShelf("fake-encoder", lambda name: encoder or FakeEncoder())
    shelf.wait("fake-encoder")
    pool = Pool("recall", workers=2, queue=queue)
    return EmbeddedRecall(CollectionStore(root), shelf, "docs", pool, spelling=spelling)


def embedded_rank(reranker: Reranker | None = None, queue: int = 16) -> EmbeddedRank:
    rank = EmbeddedRank(
        lambda: RankPipeline(reranker or FakeReranker(), RankSettings()), Pool("rerank", workers=1, queue=queue)
    )
    rank.wait()
    return rank


PUBLIC = Rights()
BOARD = Rights(("group:board", "public"))


def put(document_id: str, text: str, **fields: Any) -> Put:
    given = {name: fields.pop(name) for name in ("vector", "if_version") if name in fields}
    return Put(Document(document_id, text, **fields), **given)


@dataclass
class Ports:
    recall: RecallPort
    rank: RankPort


@pytest.fixture(scope="module")
def stages() -> Iterator[tuple[tuple[Stage, str], tuple[Stage, str]]]:
    """Two servers, one for each port, whose applications change from test to test."""
    recall, rank = Stage(), Stage()
    with served(recall) as one, served(rank) as other:
        yield (recall, one.url), (rank, other.url)


@pytest.fixture(params=KINDS)
async def ports(
    request: pytest.FixtureRequest, stages: tuple[tuple[Stage, str], tuple[Stage, str]], tmp_path: Path
) -> AsyncIterator[Ports]:
    """The collections ``docs`` and ``empty``, and a ranking, behind each kind of port."""
    if request.param == "fake":
        yield Ports(FakeRecall({"docs": DOCUMENTS, "empty": ()}), FakeRank())
        return
    store = CollectionStore(tmp_path)
    write(store)
    write(store, "empty", ())
    async with AsyncExitStack() as stack:
        recall, rank = embedded_recall(tmp_path), embedded_rank()
        stack.push_async_callback(recall.aclose)
        stack.push_async_callback(rank.aclose)
        recall.start()
        if request.param == "embedded":
            yield Ports(recall, rank)
            return
        (recall_stage, recall_url), (rank_stage, rank_url) = stages
        recall_stage.app, rank_stage.app = create_recall(recall, Telemetry()), create_rank(rank, Telemetry())
        far = RecallClient(http_client(recall_url, 60)), RankClient(http_client(rank_url, 60))
        stack.push_async_callback(far[0].aclose)
        stack.push_async_callback(far[1].aclose)
        await far[1].refresh()
        yield Ports(*far)
