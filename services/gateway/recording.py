"""What a request asked and what it was served, put together as one line of the query log beside the search itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from starlette.requests import Request

from eval.usage_rows import AnswerFacts, QueryRow, ServedPassage
from generation.events import FinalAnswer
from ranking.features import Stamp, unstamped
from retrieval.errors import InvalidRequest, RiddleError
from retrieval.types import Candidate
from services.auth import Caller
from services.gateway.answers import ClientLeft, Outcome
from services.gateway.cursor import read_cursor
from services.gateway.plan import SearchLimits
from services.gateway.search import Found
from services.http import request_id_of
from services.ports import RankPort
from services.query_log import QueryLog
from services.wire import SearchRequest

SESSION, WISH, TAKEN = "X-Riddle-Session", "X-Riddle-Log", "X-Riddle-Feedback"
"""Headers. What the client calls its visit; ``off``: leave this request out; of a response, ``on``: takes feedback."""

_SESSION = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass
class Record:
    """One request on its way into the log; does nothing when there is none, or the request wants to be left out."""

    row: QueryRow
    log: QueryLog | None
    rank: RankPort

    @property
    def headers(self) -> Mapping[str, str]:
        """What the response says of it."""
        return {TAKEN: "on"} if self.log is not None else {}

    def searched(self, found: Found) -> None:
        """Keep what the search brought; a search's own line is complete then, an answer's is not."""
        if self.log is None:
            return
        stamp = stamp_of(found.page.candidates)
        self.row = replace(
            self.row,
            generation=found.generation,
            pipeline=self.rank.version,
            cache=found.cache,
            degraded=found.degraded,
            timings_ms=found.timings_ms,
            results=tuple(_served(candidate, stamp) for candidate in found.page.candidates),
            vectors=stamp.features,
            ltr=stamp.model,
        )
        if self.row.kind == "search":
            self._add(self.row)

    def answered(self, outcome: Outcome, final: FinalAnswer | None) -> None:
        """The answer has ended, or its last event is about to be sent."""
        searched = self.row.timings_ms.get("total", 0.0)
        facts = AnswerFacts(outcome)
        degraded = self.row.degraded
        if final is not None:
            first = final.timings_ms.get("first_delta")
            facts = AnswerFacts(
                outcome,
                final.engine,
                len(final.citations),
                None if first is None else round(searched + first, 3),
                round(searched + final.timings_ms.get("total", 0.0), 3),
            )
            degraded = (*degraded, *final.degraded)
        self._add(replace(self.row, degraded=degraded, answer=facts))

    def failed(self, code: str) -> None:
        self._add(replace(self.row, error=code))

    def _add(self, row: QueryRow) -> None:
        if self.log is not None:
            self.log.add(replace(row, time=datetime.now(UTC).isoformat(timespec="milliseconds")))


class Recorder:
    """Makes records of requests; without a log they are kept nowhere."""

    def __init__(self, log: QueryLog | None, rank: RankPort, limits: SearchLimits) -> None:
        self._log = log
        self._rank = rank
        self._limits = limits

    @contextmanager
    def asked(
        self, kind: Literal["search", "answer"], body: SearchRequest, request: Request, caller: Caller
    ) -> Iterator[Record]:
        """A record of one request; a failure inside is written down and goes on."""
        wished = request.headers.get(WISH, "").strip().lower() != "off"
        record = Record(self._row(kind, body, request, caller), self._log if wished else None, self._rank)
        try:
            yield record
        except RiddleError as error:
            record.failed(error.code)
            raise
        except ClientLeft:
            record.failed("client_left")
            raise

    def _row(
        self, kind: Literal["search", "answer"], body: SearchRequest, request: Request, caller: Caller
    ) -> QueryRow:
        session = request.headers.get(SESSION, "")
        offset = 0
        if body.cursor is not None:
            with suppress(InvalidRequest):  # the search itself refuses what is no cursor
                offset = read_cursor(body.cursor).offset
        return QueryRow(
            time="",
            request_id=request_id_of(request),
            session=session if _SESSION.fullmatch(session) else "",
            kind=kind,
            key=caller.key_id,
            collection=body.collection or self._limits.default_collection,
            generation="",
            pipeline="",
            query=body.query.strip(),
            filtered=body.filters is not None,
            k=self._limits.default_k if body.k is None else body.k,
            offset=offset,
        )


def stamp_of(candidates: Sequence[Candidate]) -> Stamp:
    """Of which features and model the vectors of a page are; empty unless every result has one and all are of one."""
    stamps = {unstamped(candidate.vector)[0] for candidate in candidates}
    return stamps.pop() if len(stamps) == 1 else Stamp("", "")


def _served(candidate: Candidate, stamp: Stamp) -> ServedPassage:
    stages = {name: (stage.rank, stage.score) for name, stage in candidate.stages.items()}
    vector = unstamped(candidate.vector)[1] if stamp.features else ""
    passage = candidate.passage
    return ServedPassage(passage.passage_id, passage.document_id, candidate.score, stages, vector, candidate.team)
