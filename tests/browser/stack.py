"""A gateway for the browser: real store, builds, recall and answers, over models that can be worked out by hand."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fastapi import FastAPI

from generation.answer import Answerer, AnswerSettings
from generation.engine import Message
from generation.events import Usage
from indexing.build import BuildSummary, Progress, build
from ranking.pipeline import RankPipeline, RankSettings
from retrieval.errors import RiddleError
from retrieval.store import CollectionStore
from services.auth import KeyDoor
from services.cache import MemoryCache
from services.embedded import EmbeddedRecall
from services.embedded_rank import EmbeddedRank
from services.gateway.app import GatewaySettings, Parts, create_app
from services.gateway.plan import SearchLimits
from services.jobs.builds import Build
from services.jobs.routes import router
from services.jobs.runner import JobRunner
from services.jobs.uploads import JobLimits
from services.keys import key_ring
from services.pool import Pool
from services.query_log import LogSettings, QueryLog
from services.shelf import EncoderShelf
from services.telemetry import Telemetry
from tests.fake_models import FakeEncoder, FakeReranker

SENTENCE = "The F() object refers to a field's value inside the database."
"""Stands behind signs of more than one UTF-16 unit, so that a page that counts those lights up something else."""

QUERIES = f"""# Making queries 🚀

Rockets 🚀🚀 and flags 🏴 come first, with 𝒎𝒂𝒕𝒉. {SENTENCE} No value is pulled into Python, so two threads
cannot overwrite each other's update.

## Related objects

Calling select_related follows a foreign key in the same database query. It makes a join, so later access
to the relation needs no further query.
"""
MIGRATIONS = "# 数据库迁移\n\n执行迁移之前，请先备份数据库🚀。如果迁移中途失败，数据库会自动回滚到迁移之前的状态。\n"
HOSTILE = """A walrus brought <img src=x onerror="window.hacked=1"> and <script>window.hacked=1</script> on purpose.
"""
NAMES = f"""# {"Names_without_end_" * 6}

## {"heading_" * 20}

The function {"a_name_that_does_not_break_" * 8} takes {"数" * 60} and returns {"x" * 300} unchanged.
"""
LONG = "# Long pages\n\n" + " ".join(f"Sentence {n} about patience fills the page." for n in range(60)) + "\n"

LIMITS = SearchLimits(
    default_collection="docs",
    max_query_chars=200,
    max_k=50,
    default_k=10,
    recall_depth=100,
    rerank_depth=20,
    rrf_k=60,
    weights={"lexical": 1.0, "dense": 1.0},
)


def pdf(pages: Sequence[str]) -> bytes:
    """A document of these lines of ASCII, one a page, in the smallest PDF that readers take."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>"]
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    objects.append(f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode())
    objects.append(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    for number, line in enumerate(pages):
        shown = f"BT /F1 12 Tf 72 720 Td ({line}) Tj ET".encode()
        page = f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * number} 0 R "
        objects.append((page + "/Resources << /Font << /F1 3 0 R >> >> >>").encode())
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(shown), shown))
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    trailer = b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, len(out))
    return out + b"xref\n0 %d\n0000000000 65535 f \n" % size + table + trailer


def write_sources(folder: Path) -> Path:
    """The files that every test of the page searches in."""
    folder.mkdir(parents=True)
    (folder / "queries.md").write_text(QUERIES, encoding="utf-8")
    (folder / "迁移.md").write_text(MIGRATIONS, encoding="utf-8")
    (folder / "hostile.txt").write_text(HOSTILE, encoding="utf-8")
    (folder / "long.md").write_text(LONG, encoding="utf-8")
    (folder / f"{'name' * 30}.md").write_text(NAMES, encoding="utf-8")
    (folder / "manual.pdf").write_bytes(pdf(["The first page is about nothing.", "Turbines need oil every spring."]))
    return folder


@dataclass
class GatedModel:
    """A chat model that says ``pieces``, and waits before each until ``gate`` gives it a turn.

    ``active`` counts the streams that are open, ``left`` those whose consumer went before the end.
    ``failure`` is raised after ``fails_after`` pieces while it is set.
    """

    pieces: Sequence[str] = (SENTENCE[:20], SENTENCE[20:40], SENTENCE[40:], " It is", " used in", " queries.")
    name: str = "gated-model"
    languages: tuple[str, ...] = ("en",)
    prompt_tokens: int = 2000
    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    active: int = 0
    left: int = 0
    failure: RiddleError | None = None
    fails_after: int = 0

    def count(self, text: str) -> int:
        return len(text.split())

    async def stream(self, messages: Sequence[Message]) -> AsyncGenerator[str | Usage, None]:
        finished = False
        self.active += 1
        try:
            for said, piece in enumerate(self.pieces):
                if self.failure is not None and said == self.fails_after:
                    finished = True
                    raise self.failure
                await self.gate.acquire()
                yield piece
            yield Usage(100, len(self.pieces))
            finished = True
        finally:
            self.active -= 1
            if not finished:
                self.left += 1

    async def ready(self) -> str:
        return "ok"


@dataclass
class Stack:
    """What a test of the page may turn: what the model says and when, and whether models fail."""

    home: Path
    model: GatedModel = field(default_factory=GatedModel)
    encoder: FakeEncoder = field(default_factory=lambda: FakeEncoder(256))
    reranker: FakeReranker = field(default_factory=lambda: FakeReranker(languages=("en", "zh")))
    logged: bool = True
    """Whether the gateway keeps a query log and takes feedback."""

    def build(
        self,
        paths: list[Path],
        collection: str,
        progress: Callable[[Progress], None] = lambda progress: None,
        cancel: threading.Event | None = None,
    ) -> BuildSummary:
        store = CollectionStore(self.home / "collections")
        work = self.home / "builds"
        return build(paths, collection, store=store, encoder=self.encoder, work=work, progress=progress, cancel=cancel)

    def app(self, build: Build | None = None) -> FastAPI:
        """The gateway; ``build`` stands in for the real one where a test has to hold it."""
        shelf = EncoderShelf(self.encoder.spec.name, lambda name: self.encoder)
        recall = EmbeddedRecall(CollectionStore(self.home / "collections"), shelf, "docs", Pool("recall", 2, 64))
        rank = EmbeddedRank(lambda: RankPipeline(self.reranker, RankSettings()), Pool("rerank", 1, 16))
        answerer = Answerer([self.model], AnswerSettings(abstain=False))
        jobs = router(JobRunner(self.home, build or self.build, limits=JobLimits(max_files=20, max_bytes=1 << 20)))

        telemetry = Telemetry()
        log = QueryLog(self.home, LogSettings(), telemetry) if self.logged else None

        @asynccontextmanager
        async def life(_: FastAPI) -> AsyncIterator[None]:
            recall.start()
            rank.start()
            yield
            await recall.aclose()
            await rank.aclose()
            if log is not None:
                await log.aclose()

        door = KeyDoor(key_ring(self.home), exposed=False)
        parts = Parts(recall, rank, answerer, MemoryCache(0, 1), telemetry, door, jobs, log=log)
        return create_app(parts, GatewaySettings(LIMITS, 10_000, 2 << 20, 1 << 20, "test"), lifespan=life)
