"""The vocabularies of collections, counted beside the searches from a sample of their texts, and kept level."""

from __future__ import annotations

import logging
import threading
import time
from array import array
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from retrieval.errors import RiddleError
from retrieval.snapshot import Snapshot
from retrieval.views import SegmentView, View
from retrieval.vocabulary import MOST_WORDS, Vocabulary, count_words

log = logging.getLogger("riddle.words")

SAMPLED: Final = 200_000
"""Documents of a segment whose words are counted, drawn over all of it, at most."""
SAMPLED_CHARS: Final = 400_000_000
"""And so much of their text: two minutes of one core where documents are long."""
COLLECTIONS: Final = 8
"""Collections whose words are kept, those asked for last; some 70 MB each where they have half a million words."""
AGAIN_S: Final = 10.0
"""Seconds after which changes are taken up at the earliest."""

_AT_ONCE: Final = 64
_BREATH_S: Final = 0.001


@dataclass(frozen=True, slots=True)
class WordCounts:
    """The words of some documents, compact: 12 bytes a word and its letters."""

    documents: int
    """Of how many the view held then; a live block grows."""
    words: str
    counts: array[int]

    @classmethod
    def of(cls, documents: int, counts: Mapping[str, int]) -> WordCounts:
        kept = Counter(counts).most_common(MOST_WORDS)
        return cls(documents, " ".join(word for word, _ in kept), array("q", [count for _, count in kept]))

    def items(self) -> Iterator[tuple[str, int]]:
        return zip(self.words.split(), self.counts, strict=True)


@dataclass(slots=True)
class _Kept:
    """What is known of one collection."""

    vocabulary: Vocabulary | None = None
    state: tuple[tuple[str, int], ...] = ()
    parts: dict[str, WordCounts] = field(default_factory=dict)
    due: float = 0.0
    counting: Future[None] | None = None


class CollectionWords:
    """Vocabularies by collection. Thread-safe. Words of deleted documents may still be among them, and those of the
    last seconds not yet: who suggests one looks whether it is there."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="riddle-words")

    def get(self, snapshot: Snapshot) -> Vocabulary | None:
        """What is counted so far, None where that is nothing yet; begins to count anew when it is out of date."""
        with self._lock:
            kept = self._of(snapshot)
            busy = kept.counting is not None and not kept.counting.done()
            stale = kept.vocabulary is None or kept.state != _state(snapshot)
            if stale and not busy and self._clock() >= kept.due:
                kept.counting = self._thread.submit(self._count, snapshot, kept)
            return kept.vocabulary

    def wait(self, snapshot: Snapshot) -> Vocabulary:
        """The same once it is counted, as it is now."""
        while True:
            self.get(snapshot)
            with self._lock:
                kept = self._of(snapshot)
                counting, found = kept.counting, kept.vocabulary
                if found is not None and kept.state == _state(snapshot):
                    return found
                kept.due = 0.0
            if counting is not None:
                counting.result()

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _of(self, snapshot: Snapshot) -> _Kept:
        key = snapshot.info.name, snapshot.info.created
        kept = self._kept.setdefault(key, _Kept())
        self._kept.move_to_end(key)
        if len(self._kept) > COLLECTIONS:
            self._kept.popitem(last=False)
        return kept

    def _count(self, snapshot: Snapshot, kept: _Kept) -> None:
        state, parts = _state(snapshot), {}
        try:
            for (name, documents), view in zip(state, snapshot.views, strict=True):
                known = kept.parts.get(name)
                parts[name] = known if known and known.documents == documents else counted(view)
            total: Counter[str] = Counter()
            for part in parts.values():
                for word, count in part.items():
                    total[word] += count
            vocabulary = Vocabulary(total)
        except (RiddleError, OSError) as error:
            log.warning("the words of %s cannot be counted: %s", snapshot.info.name, error)
            vocabulary = kept.vocabulary or Vocabulary({})
        with self._lock:
            kept.vocabulary, kept.state, kept.parts = vocabulary, state, parts
            kept.due = self._clock() + AGAIN_S


def counted(view: View) -> WordCounts:
    """The words of a segment or live block, of a seeded sample of its documents where it holds many."""
    documents = view.documents
    rows = np.arange(documents)
    if documents > SAMPLED:
        rows = np.random.default_rng(0).choice(documents, SAMPLED, replace=False)
    counts: Counter[str] = Counter()
    left = SAMPLED_CHARS
    for start in range(0, len(rows), _AT_ONCE):
        texts = view.texts(rows[start : start + _AT_ONCE])
        counts.update(count_words(texts))
        left -= sum(map(len, texts))
        if left < 0:
            break
        time.sleep(_BREATH_S)  # searches go first
    return WordCounts.of(documents, counts)


def _state(snapshot: Snapshot) -> tuple[tuple[str, int], ...]:
    return tuple(_named(view) for view in snapshot.views)


def _named(view: View) -> tuple[str, int]:
    """What tells a part from others, and how much it held."""
    return (view.segment.id if isinstance(view, SegmentView) else f"live {view.block.first}"), view.documents
