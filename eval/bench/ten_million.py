"""One large collection, whole: built, weighed, started cold, searched, changed and merged, each part by itself."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from eval.bench import served
from eval.bench.churn import Queries
from eval.bench.corpus import FIELDS, Corpus, VectorSource
from eval.bench.filters_bench import CASES, Truth, exact, measure
from eval.bench.latency import closed_loop
from eval.bench.process import Peak, disk_by_part, memory
from eval.bench.served import TREES, Gateway
from eval.bench.synthetic import generator_version
from eval.bench.targets import LocalTarget
from eval.bench.texts import Pieces, Texts, read_pieces
from retrieval.batch import write_generation
from retrieval.durable import replace_json
from retrieval.errors import InvalidRequest
from retrieval.filters import Scope, parse_filter
from retrieval.manifest import CollectionSettings
from retrieval.segment import Part
from retrieval.store import CollectionStore
from retrieval.types import EncoderSpec, Vectors

COLLECTION = "ten-million"
PARTS = ("generate", "build", "size", "exact", "filters", "library", "cold", "gateway", "churn", "merge")

Say = Callable[[str], None]
Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is built: equal plans give equal collections, and a folder holds the results of one."""

    passages: int
    seed: int = 20261124
    vectors: str = "auto"
    queries: int = 100
    threads: int = 2


class TenMillion:
    """``folder`` keeps pieces, exact neighbours and results; the collection lies in ``store``."""

    def __init__(
        self, folder: Path, plan: Plan, store: CollectionStore, source: VectorSource, encoder: EncoderSpec, data: Path
    ) -> None:
        """Raises InvalidRequest when ``folder`` holds the results of another plan."""
        self._folder, self._plan, self._store, self._data = folder, plan, store, data
        self._source, self._encoder = source, encoder
        self._state = folder / "results.json"
        self._described = {**asdict(plan), "encoder": encoder.name, "generator": generator_version()}
        self.results: dict[str, Result] = {}
        folder.mkdir(parents=True, exist_ok=True)
        if self._state.exists():
            kept = json.loads(self._state.read_text(encoding="utf-8"))
            if kept["plan"] != self._described:
                raise InvalidRequest(f"{folder} holds the results of {kept['plan']}; name another folder, or remove it")
            self.results = kept["results"]

    def run(self, parts: Iterable[str], gateway: Gateway, say: Say, *, again: bool = False) -> dict[str, Result]:
        """Carry out ``parts`` in their order, those that have a result already only when ``again``."""
        works: Mapping[str, Callable[[], Result]] = {
            "generate": self.generate,
            "build": lambda: self.build(say),
            "size": self.size,
            "exact": lambda: self.exact(say),
            "filters": self.filters,
            "library": self.library,
            "cold": lambda: served.cold(gateway, self._store.root / COLLECTION, self._queries(200)[0]),
            "gateway": lambda: served.warm(gateway, self._queries(2000)[0]),
            "churn": lambda: served.churned(
                gateway, Queries(*self._queries(2000)), self._source.block(1 << 20, 30_000)
            ),
            "merge": lambda: served.merged(gateway, self._store.root, COLLECTION, self._queries(40_000)[0]),
        }
        for part in (each for each in PARTS if each in set(parts)):
            if part in self.results and not again:
                say(f"{part}: done before")
                continue
            if part == "build":  # what was measured of another build is not of this one
                self.results = {each: self.results[each] for each in ("generate",) if each in self.results}
            say(f"{part}: begins")
            began = time.perf_counter()
            result = works[part]()
            at = datetime.now(UTC).isoformat(timespec="seconds")
            self.results[part] = {**result, "seconds": round(time.perf_counter() - began, 1), "at": at}
            replace_json(self._state, {"plan": self._described, "results": self.results})
            say(f"{part}: {json.dumps(self.results[part], ensure_ascii=False)}")
        return self.results

    def corpus(self) -> Corpus:
        path = self._folder / "pieces.json"
        if not path.exists():
            read_pieces(self._data).save(path)
        texts = Texts(Pieces.load(path), self._plan.seed)
        return Corpus(texts, self._source, Corpus.documents_for(self._plan.passages))

    def generate(self) -> Result:
        """How fast the rows come by themselves: the first blocks, text and vectors apart."""
        corpus = self.corpus()
        blocks = range(min(4, corpus.blocks))
        began = time.perf_counter()
        count = sum(len(corpus.passage_vectors(block)[0]) for block in blocks)
        vectors_s = time.perf_counter() - began
        began = time.perf_counter()
        for block in blocks:
            corpus.block(block)
        rows_s = time.perf_counter() - began
        return {"passages": count, "vectors_per_s": round(count / vectors_s), "rows_per_s": round(count / rows_s)}

    def build(self, say: Say) -> Result:
        """Write the collection as one generation; a build that was killed is gone on with."""
        corpus, stages = self.corpus(), Stages(say)
        settings = CollectionSettings(vectors=self._plan.vectors, fields=FIELDS)
        with Peak().watching() as peak:
            info = write_generation(
                self._store,
                COLLECTION,
                stages.taking(corpus.parts()),
                encoder=self._encoder,
                settings=settings,
                replace=True,
                progress=stages,
                key=f"ten-million-{self._plan.seed}-{self._plan.passages}-{self._plan.vectors}",
                threads=self._plan.threads,
                workers=self._plan.threads,
            )
        return {
            "documents": info.documents,
            "passages": info.passages,
            "generation": info.generation,
            "stages_s": stages.seconds(),
            "drawing_rows_s": round(stages.drawing_s, 1),
            "peak": peak.highest.as_json(),
        }

    def size(self) -> Result:
        """Disk by part, and memory of a process that has opened the collection and searched it."""
        target, texts, vectors = self._target(), *self._queries()
        for text, vector in zip(texts, vectors, strict=True):
            target.search(text, vector)
        disk = disk_by_part(self._store.root / COLLECTION)
        return {
            "disk_mb": {part: round(size / 1e6, 1) for part, size in disk.items()},
            "disk_total_mb": round(sum(disk.values()) / 1e6, 1),
            "process": memory(os.getpid()).as_json(),
        }

    def exact(self, say: Say) -> Result:
        """Exact neighbours of the queries under every filter, by a scan of what was generated."""
        corpus = self.corpus()
        truth = exact(corpus, corpus.queries(self._plan.queries), progress=say)
        replace_json(self._folder / "exact.json", asdict(truth))
        return {"cases": len(truth.ids), "queries": self._plan.queries}

    def filters(self) -> Result:
        """Recall and time of the dense channel under every filter. Raises InvalidRequest after the part churn."""
        if "churn" in self.results:
            raise InvalidRequest(
                "the part churn has changed the collection since: run build, size and exact again first"
            )
        stored = json.loads((self._folder / "exact.json").read_text(encoding="utf-8"))
        corpus = self.corpus()
        queries = corpus.queries(self._plan.queries)
        found = measure(self._store.open(COLLECTION).snapshot(), corpus, queries, Truth(**stored), CASES)
        return {"cases": [each.as_json() for each in found]}

    def library(self) -> Result:
        """Hybrid searches in this process, one after another, without a filter and with one."""
        target, texts, vectors = self._target(), *self._queries()
        plain = closed_loop("hybrid", lambda i: target.candidates(texts[i], vectors[i]), len(texts))
        scopes = [Scope(parse_filter(tree, FIELDS), frozenset({"public", "group:wide"})) for tree in TREES]
        for scope in scopes:
            target.candidates(texts[0], vectors[0], scope)

        def filtered(i: int) -> object:
            return target.candidates(texts[i], vectors[i], scopes[i % len(scopes)])

        return {
            "latencies": [plain.as_json(), closed_loop("hybrid, filter and rights", filtered, len(texts)).as_json()]
        }

    def _target(self) -> LocalTarget:
        return LocalTarget(self._store.open(COLLECTION))

    def _queries(self, count: int = 300) -> tuple[list[str], Vectors]:
        corpus = self.corpus()
        return corpus.texts.queries(self._plan.seed, count), corpus.queries(count)


class Stages:
    """Listens to a build: seconds by stage, progress on the way, and how long the rows themselves took to draw."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._began = time.perf_counter()
        self._last: dict[str, float] = {}
        self._said = self._began
        self.drawing_s = 0.0

    def __call__(self, stage: str, done: int) -> None:
        now = self._last[stage] = time.perf_counter()
        if now - self._said > 30:
            self._said = now
            self._say(f"build: {stage} {done:,} after {now - self._began:.0f} s")

    def taking(self, parts: Iterator[Part]) -> Iterator[Part]:
        while True:
            began = time.perf_counter()
            part = next(parts, None)
            self.drawing_s += time.perf_counter() - began
            if part is None:
                return
            yield part

    def seconds(self) -> dict[str, float]:
        """From the end of the stage before, in order."""
        ends = sorted(self._last.items(), key=lambda item: item[1])
        starts = [self._began, *(end for _, end in ends)]
        return {stage: round(end - start, 1) for (stage, end), start in zip(ends, starts, strict=False)}


def estimate(results: Mapping[str, Result], passages: int, target: int) -> Result:
    """What a build of ``target`` passages takes by one of ``passages``, as if all of it grew with their number.

    Start-up and import count for too much below a million, and graphs grow a little faster. Memory does not grow so:
    parts are taken one at a time.
    """
    times = target / passages
    build, size = results["build"], results["size"]
    return {
        "passages": target,
        "build_minutes": round(sum(build["stages_s"].values()) * times / 60, 1),
        "disk_gb": round(size["disk_total_mb"] * times / 1000, 1),
    }
