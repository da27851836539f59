"""What is measured: the seams of a search service and of an answer service, whoever stands behind them.

``services/targets`` fills them with a Riddle in this process, a Riddle over HTTP, and Elasticsearch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from generation.events import Span

FINAL = "final"
"""The stage that the user sees; every target has it."""

STAGES = ("lexical", "dense", "fused", "late", "ltr", "rerank", FINAL)
"""Stages in the order of the funnel. A target has those that it can tell apart; ``rerank`` holds only what was read."""

Ranking = tuple[tuple[str, float], ...]
"""``(document_id, score)``, best first, a document once: at the place of its best passage."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One passage as the user got it. ``stages`` maps a stage to ``(rank from 1, score)``."""

    passage_id: str
    document_id: str
    score: float
    text: str
    title: str = ""
    stages: Mapping[str, tuple[int, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Searched:
    """What came of one search."""

    rankings: Mapping[str, Ranking]
    """By stage; documents that a stage did not see are not in its ranking."""
    shown: tuple[Shown, ...]
    timings_ms: Mapping[str, float]
    """The service's own stages, and ``client``: from sending the request to holding its answer."""
    generation: str = ""
    """The state of the collection that was searched, as far as the target knows one."""
    cache: str = ""
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cited:
    """A citation: a stretch of the answer, what it rests on, and the source's own words where they are known."""

    answer_span: Span
    passage_id: str
    document_id: str = ""
    source_text: str = ""
    verdict: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of one question."""

    answer: str
    abstained: bool
    citations: tuple[Cited, ...]
    shown: tuple[Shown, ...]
    """The passages that the answer could rest on, best first."""
    timings_ms: Mapping[str, float]
    """As in ``Searched``; ``first_delta`` is the service's own, ``client_first`` the caller's first piece of text."""
    engine: str = ""
    generation: str = ""
    degraded: tuple[str, ...] = ()
    usage: Mapping[str, int] = field(default_factory=dict)
    """``prompt_tokens`` and ``completion_tokens``."""


class SearchTarget(Protocol):
    """Something that ranks documents. One call at a time, unless it says that it is thread-safe."""

    def describe(self) -> Mapping[str, Any]:
        """What a manifest says of it: ``kind``, where it is, models, generation, settings. JSON, no secrets."""
        ...

    def search(self, query: str, k: int) -> Searched:
        """The best ``k`` passages. Raises RiddleError when the search fails."""
        ...


@runtime_checkable
class AnswerTarget(Protocol):
    """Something that answers questions."""

    def answer(self, question: str) -> Answered:
        """Raises RiddleError when no answer came; an abstention is an answer."""
        ...
