"""The lines of the query log and of the feedback files: what each says, and how both are read back.

``services/query_log.py`` writes them. Every line is one JSON object; a reader skips keys that it does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

Row = TypeVar("Row")

FeedbackKind = Literal["click", "rating", "judgement", "answer"]

Features = Mapping[str, tuple[int, float]]
"""What each stage made of a passage: ``{"lexical": (rank from 1, score), …}``; a stage that did not see it has none."""

DIGEST = "hmac:"
"""What the digest of a query begins with, where the server keeps those instead of the text."""

MACHINES = "eval"
"""Sessions whose name begins so are measurements and nobody's searches; what `riddle eval` and `bench` send is such."""

LOG_FOLDER, FEEDBACK_FOLDER = "log", "feedback"
"""Below the home folder."""


@dataclass(frozen=True, slots=True)
class ServedPassage:
    """One result as it was served, without its text."""

    passage_id: str
    document_id: str
    score: float
    features: Features
    vector: str = ""
    """What learned ranking knew of it when it was served, float32 in base64 (``ranking.features.packed``)."""
    team: str = ""
    """The ranker that put it here, where two took turns; else empty."""


@dataclass(frozen=True, slots=True)
class AnswerFacts:
    """How an answer ended. Milliseconds count from the request; ``first_ms`` is None when nothing was said."""

    outcome: Literal["answered", "abstained", "failed", "left"]
    """``left``: the client went before the end."""
    engine: str = ""
    citations: int = 0
    first_ms: float | None = None
    total_ms: float | None = None


@dataclass(frozen=True, slots=True)
class QueryRow:
    """One search or answer that the gateway served, or could not serve."""

    time: str
    """ISO 8601, UTC: when it was done."""
    request_id: str
    session: str
    """What the client calls the visit that this belongs to; empty when it does not say."""
    kind: Literal["search", "answer"]
    key: str
    """Id of the API key; empty on a server without keys."""
    collection: str
    generation: str
    pipeline: str
    """Version of the ranking pipeline and its models."""
    query: str
    """As it was asked, or a digest of it when the server is set so."""
    filtered: bool
    k: int
    offset: int = 0
    """How many results came before on earlier pages; 0 on the first."""
    cache: str = ""
    degraded: tuple[str, ...] = ()
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    """Of the search, also where an answer followed."""
    results: tuple[ServedPassage, ...] = ()
    error: str = ""
    """Code of the problem that was the reply; empty when there was none."""
    answer: AnswerFacts | None = None
    vectors: str = ""
    """Version of the features that the results' vectors are of; empty where the request was not drawn to keep them."""
    ltr: str = ""
    """Hash of the learned ranker that scored these vectors; empty where there was none."""


@dataclass(frozen=True, slots=True)
class FeedbackRow:
    """What a caller said of a request, with what that request had served."""

    time: str
    request_id: str
    session: str
    kind: FeedbackKind
    query: str
    collection: str
    generation: str
    pipeline: str
    passage_id: str
    document_id: str
    """Both empty for an answer as a whole."""
    rank: int
    """Place in the list from 1, earlier pages counted; 0 for an answer as a whole."""
    value: float | None
    """A rating or an answer's: -1 to 1. A judgement: the grade, from 0. A click has none."""
    features: Features
    served: tuple[str, ...]
    """Passage ids of the page, in order."""
    comment: str = ""
    key: str = ""


QUERY_ROW: TypeAdapter[QueryRow] = TypeAdapter(QueryRow)
FEEDBACK_ROW: TypeAdapter[FeedbackRow] = TypeAdapter(FeedbackRow)


def query_rows(home: Path, unreadable: Callable[[str], None] | None = None) -> Iterator[QueryRow]:
    """The query log below a home folder, oldest first. ``unreadable`` is told of each line that is none."""
    return rows_of(home / LOG_FOLDER, QUERY_ROW, unreadable)


def feedback_rows(home: Path, unreadable: Callable[[str], None] | None = None) -> Iterator[FeedbackRow]:
    """All feedback below a home folder, oldest first. ``unreadable`` is told of each line that is none."""
    return rows_of(home / FEEDBACK_FOLDER, FEEDBACK_ROW, unreadable)


def rows_of(folder: Path, adapter: TypeAdapter[Row], unreadable: Callable[[str], None] | None = None) -> Iterator[Row]:
    """Every row in the ``.jsonl`` files of a folder, by file name; none when there is no folder.

    A line that a crash cut short, or that is of another format, is left out and told of.
    """
    for path in sorted(folder.glob("*.jsonl")):
        try:
            file = path.open("rb")
        except FileNotFoundError:
            continue  # its days were over, and the server removed it meanwhile
        with file:
            for number, line in enumerate(file, 1):
                try:
                    yield adapter.validate_json(line)
                except ValidationError:
                    if unreadable is not None and line.strip():
                        unreadable(f"{path} line {number}")
