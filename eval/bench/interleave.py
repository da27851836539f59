"""Changes, rights and searches in random order, answers kept by generation: nothing stale, nothing that is excluded."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from eval.bench.targets import supplied
from eval.bench.texts import coined
from retrieval.changes import Change, Delete, Upsert
from retrieval.collection import Collection
from retrieval.filters import Compare, Filter, Join, Scope
from retrieval.maintenance import Inline, compact
from retrieval.manifest import CollectionSettings
from retrieval.store import CollectionStore
from retrieval.types import Chunk, Document, Vectors

DIMENSION, IDS, WORDS, K = 16, 60, 8, 10
GROUPS = ("group:a", "group:b", "group:c")
DEPTH = 2 * IDS


@dataclass(frozen=True, slots=True)
class Known:
    """A document as it should be now."""

    document: Document
    vector: Vectors
    word: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What one search says, as a cache would keep it."""

    by_words: frozenset[str]
    by_vector: tuple[str, ...]
    documents: int
    languages: tuple[tuple[object, int], ...]


@dataclass
class InterleaveReport:
    """How often each thing was done, and every answer that was not as the documents stood at that moment."""

    done: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        return {"done": dict(self.done), "problems": self.problems[:20], "wrong": len(self.problems)}


class Interleaving:
    """One collection, its plain twin in memory, and a cache of answers keyed as the gateway keys its own.

    Writes go through one handle and searches through another, as by another process.
    """

    def __init__(self, root: Path, seed: int) -> None:
        self._random = random.Random(seed)
        settings = CollectionSettings(fields={"rank": "number", "lang": "keyword"})
        self._writer = CollectionStore(root, Inline()).create("docs", settings, supplied(DIMENSION))
        self._reader: Collection = CollectionStore(root).open("docs")
        self._known: dict[str, Known] = {}
        self._cache: dict[tuple[str, str, str, int], Answer] = {}
        self._asked: deque[tuple[Scope, str, int]] = deque(maxlen=8)
        self._words = [coined("zw", number) for number in range(WORDS)]
        self._vectors = _units(np.random.default_rng(seed), 400)
        self.report = InterleaveReport()

    def burst(self, number: int) -> int:
        """Some steps of one kind, so that at times much happens between two searches; returns how many."""
        kind = self._random.choices((self._search, self._change, self._seal, self._merge), (60, 35, 4, 1))[0]
        steps = self._random.randint(1, 8) if kind in (self._search, self._change) else 1
        for step in range(steps):
            kind(number + step)
        return steps

    def _seal(self, number: int) -> None:
        """What lies in memory is to become a segment: the next change does it, and merges small segments."""
        self.report.done["seal"] += 1
        with self._writer.appending():
            self._writer.freeze()

    def _merge(self, number: int) -> None:
        self.report.done["merge"] += 1
        compact(self._writer)

    def _change(self, number: int) -> None:
        changes: list[Change] = []
        for row in self._random.sample(range(IDS), self._random.randint(1, 4)):
            document_id = f"d{row}"
            before = self._known.get(document_id)
            kind = self._random.choice(("put", "put", "delete", "rights")) if before else "put"
            self.report.done[kind] += 1
            if kind == "delete":
                del self._known[document_id]
                changes.append(Delete(document_id))
                continue
            known = before if kind == "rights" and before else self._drawn(document_id, number)
            document = known.document
            if kind == "rights":
                acl = self._rights()
                document = Document(document_id, document.text, document.title, "", document.metadata, acl)
            self._known[document_id] = Known(document, known.vector, known.word)
            changes.append(Upsert(document, [Chunk(0, 0, len(document.text))], known.vector[None, :]))
        for outcome in self._writer.write(changes):
            if not outcome.accepted:
                self.report.problems.append(f"step {number}: {outcome}")

    def _drawn(self, document_id: str, number: int) -> Known:
        word = self._random.choice(self._words)
        text = f"{word} as step {number} wrote it"
        metadata = {"rank": self._random.randrange(100), "lang": self._random.choice(("en", "zh"))}
        vector = self._vectors[self._random.randrange(len(self._vectors))]
        return Known(Document(document_id, text, metadata=metadata, acl=self._rights()), vector, word)

    def _rights(self) -> tuple[str, ...]:
        return tuple(self._random.sample(GROUPS, self._random.randint(0, 2)))

    def _search(self, number: int) -> None:
        if self._asked and self._random.random() < 0.6:
            scope, word, row = self._random.choice(self._asked)
        else:
            scope, word, row = self._scope(), self._random.choice(self._words), self._random.randrange(20)
            self._asked.append((scope, word, row))
        vector = self._vectors[row]
        snapshot = self._reader.snapshot()
        key = (snapshot.info.generation, scope.key, word, row)
        answer = self._cache.get(key)
        self.report.done["search" if answer is None else "search from the cache"] += 1
        if answer is None:
            by_words = snapshot.passages(snapshot.lexical(word, DEPTH, scope).rows)
            by_vector = snapshot.passages(snapshot.dense(vector, K, scope).rows)
            languages = snapshot.facets(["lang"], scope)["lang"]
            answer = self._cache[key] = Answer(
                frozenset(passage.document_id for passage in by_words),
                tuple(passage.document_id for passage in by_vector),
                snapshot.count(scope)[0],
                tuple(sorted(languages, key=str)),
            )
        if (wrong := self._wrong(answer, scope, word, vector)) and len(self.report.problems) < 1000:
            self.report.problems.append(f"step {number}, {scope.key}, {word}: {wrong}")

    def _scope(self) -> Scope:
        principals = None if self._random.random() < 0.1 else frozenset({"public", *self._rights()})
        return Scope(self._filter(), principals)

    def _filter(self) -> Filter | None:
        leaves: list[Filter] = []
        if self._random.random() < 0.5:
            leaves.append(Compare("lt", "rank", self._random.choice((2, 10, 50))))
        if self._random.random() < 0.4:
            leaves.append(Compare(self._random.choice(("eq", "ne")), "lang", "zh"))
        if len(leaves) < 2:
            return leaves[0] if leaves else None
        return Join(self._random.choice(("and", "or")), tuple(leaves))

    def _wrong(self, answer: Answer, scope: Scope, word: str, vector: Vectors) -> str:
        """How an answer differs from what the documents, as they are now, make it; empty when it does not."""
        admitted = {
            name: known
            for name, known in self._known.items()
            if scope.admits(known.document.metadata, known.document.acl)
        }
        words = frozenset(name for name, known in admitted.items() if known.word == word)
        if answer.by_words != words:
            return f"words found {sorted(answer.by_words)}, not {sorted(words)}"
        languages = Counter(known.document.metadata["lang"] for known in admitted.values())
        if answer.documents != len(admitted) or dict(answer.languages) != dict(languages):
            return f"counted {answer.documents}, {answer.languages}, not {len(admitted)}, {dict(languages)}"
        return _wrong_order(answer.by_vector, {name: float(known.vector @ vector) for name, known in admitted.items()})


def _wrong_order(found: Sequence[str], scores: dict[str, float]) -> str:
    """Ties, and what finer storage rounds, may stand in any order."""
    if unknown := set(found) - scores.keys():
        return f"the vector found {sorted(unknown)}, which are excluded or gone"
    if len(found) != min(K, len(scores)) or len(set(found)) != len(found):
        return f"the vector found {len(found)} of {len(scores)}"
    least = sorted(scores.values(), reverse=True)[: len(found)]
    if any(scores[name] < least[-1] - 0.01 for name in found):
        return f"the vector found {list(found)}, with nearer ones left out"
    return ""


def _units(draw: np.random.Generator, count: int) -> Vectors:
    drawn = draw.standard_normal((count, DIMENSION), np.float32)
    unit: Vectors = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return unit


def run_interleavings(
    root: Path, count: int, seed: int, *, progress: Callable[[str], None] = lambda text: None
) -> InterleaveReport:
    """``count`` random steps on a fresh collection below ``root``."""
    interleaving = Interleaving(root, seed)
    number = said = 0
    while number < count:
        number += interleaving.burst(number)
        if number - said >= 1000:
            said = number
            progress(f"{number:,} of {count:,} steps, {len(interleaving.report.problems)} wrong answers")
    return interleaving.report
