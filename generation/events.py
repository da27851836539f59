"""What an answer consists of as it streams: text, citations, and the final account of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from retrieval.types import Candidate

Verdict = Literal["closest", "quoted"]
"""``quoted``: the answer repeats the source word for word. ``closest``: the sentence of the sources that
comes nearest; nobody has checked that it supports the statement."""

Span = tuple[int, int]
"""Start and end in code points, end exclusive, never empty."""


@dataclass(frozen=True, slots=True)
class SearchResults:
    """The passages that the answer may rest on; sent by whoever searched, before the first delta."""

    generation: str
    results: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Delta:
    """The next piece of the answer, never what was sent before."""

    text: str


@dataclass(frozen=True, slots=True)
class Citation:
    """Ties ``answer_span`` of the answer to ``source_span`` of the document that ``passage_id`` is part of.

    ``source_span`` counts in the document's text and lies inside the passage's offsets.
    """

    id: str
    answer_span: Span
    passage_id: str
    source_span: Span
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens read and written, as the engine counts them; zeros where no model was asked."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class FinalAnswer:
    """The whole answer: ``answer`` equals the deltas joined, ``citations`` those that were sent, in order."""

    answer: str
    citations: tuple[Citation, ...]
    abstained: bool
    usage: Usage
    timings_ms: Mapping[str, float]
    """``evidence`` (the decision to answer at all), ``first_delta`` and ``total``, from the call of ``answer``."""
    engine: str
    """Who wrote it: a model's name, ``extractive``, or ``none`` when nothing was written for want of evidence."""
    degraded: tuple[str, ...] = field(default=())
    """``("generation",)`` when an engine that should have written it could not."""


Event = Delta | Citation | FinalAnswer
