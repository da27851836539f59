"""What the gateway was asked and what it served, kept for a while in memory and on disk: what feedback refers to."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import logging
import os
import secrets
import zlib
from collections import OrderedDict, deque
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from eval.usage_rows import DIGEST, FEEDBACK_FOLDER, FEEDBACK_ROW, LOG_FOLDER, QUERY_ROW, FeedbackRow, QueryRow
from retrieval.durable import disk_full_said_plainly
from retrieval.errors import Conflict, Overloaded, RequestNotFound, Unavailable
from services.day_files import DayFiles
from services.pool import Pool
from services.telemetry import Telemetry

log = logging.getLogger("riddle.query_log")

WAITING = 10_000
"""Lines that may wait for the disk; what comes while so many wait is dropped and counted."""
RECENT = 100_000
"""Results of recent requests that are held in memory, each request counting as one more."""
TIDY_EVERY_S = 3600.0


@dataclass(frozen=True, slots=True)
class LogSettings:
    """The query log, and the feedback that refers to it."""

    enabled: bool = True
    """Keep a line for each search and answer, and take feedback on them; false writes nothing of either."""
    days: int = 30
    """Days that a line of the query log is kept; 0 for ever."""
    feedback_days: int = 365
    """Days that feedback is kept, the query that it is about with it; 0 for ever."""
    max_bytes: int = 1 << 30
    """Most bytes of the query log, and of feedback; the oldest files go first. 0 for no limit."""
    queries: Literal["text", "digest"] = "text"
    """How queries are kept: as they were asked, or as keyed digests that only tell equal ones."""
    vectors: float = 1.0
    """Share of requests, 0 to 1, kept with the features that learned ranking saw: what `riddle ltr` learns from."""

    def __post_init__(self) -> None:
        for name, value in (("days", self.days), ("feedback_days", self.feedback_days), ("max_bytes", self.max_bytes)):
            if value < 0:
                raise ValueError(f"log.{name} must be at least 0, not {value}")
        if not 0 <= self.vectors <= 1:
            raise ValueError(f"log.vectors must be from 0 to 1, not {self.vectors}")

    def keeps_vectors(self, request_id: str) -> bool:
        """Whether this request is drawn; the same for all who ask, in every process."""
        return zlib.crc32(request_id.encode()) < self.vectors * 2**32


class QueryLog:
    """Writes lines beside the requests that they are of. ``add`` never waits and never raises.

    For one event loop. Several processes may share a home folder; each knows the others' requests once they
    are on disk.
    """

    def __init__(self, home: Path, settings: LogSettings, telemetry: Telemetry, *, waiting: int = WAITING) -> None:
        self._lines = DayFiles(home / LOG_FOLDER, days=settings.days, max_bytes=settings.max_bytes)
        self._feedback = DayFiles(home / FEEDBACK_FOLDER, days=settings.feedback_days, max_bytes=settings.max_bytes)
        self._settings = settings
        self._telemetry = telemetry
        self._waiting: deque[QueryRow] = deque()
        self._room = waiting
        self._writing: asyncio.Task[None] | None = None
        self._recent = _Recent(RECENT)
        self._pool = Pool("feedback", workers=1, queue=32)

    def add(self, row: QueryRow) -> None:
        """Take a line: known to ``find`` at once, on disk soon."""
        if self._settings.queries == "digest":
            try:
                row = replace(row, query=self._digest(row.query))
            except OSError as error:
                log.warning(
                    "a line of the query log is lost, for there is no secret to digest its query with: %s", error
                )
                self._telemetry.query_log("dropped", 1)
                return
        plain = _without_vectors(row)
        self._recent.add(plain)
        if not self._settings.keeps_vectors(row.request_id):
            row = plain
        if len(self._waiting) >= self._room:
            self._telemetry.query_log("dropped", 1)
            return
        self._waiting.append(row)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def find(self, request_id: str, key: str) -> QueryRow:
        """The last request of that id that was made with that key. Raises RequestNotFound, or Overloaded.

        Whether there is none or it is another caller's makes no difference to see.
        """
        row = self._recent.get(request_id, key)
        if row is None:
            await self.flushed()
            row = await self._pool.run(lambda: self._on_disk(request_id, key))
        if row is None:
            raise RequestNotFound(
                f"no request {request_id!r} of this key is known: it was never served, was not logged, or is too old; "
                "`X-Request-ID` of a search's or an answer's response names it"
            )
        return row

    async def tell(self, row: FeedbackRow) -> None:
        """Write feedback; on disk, also through a power cut, when this returns.

        Raises Overloaded, DiskFull, or Unavailable when the folder cannot be written.
        """
        line = FEEDBACK_ROW.dump_json(row)

        def write() -> None:
            with disk_full_said_plainly("feedback", self._feedback.folder.parent):
                self._feedback.append([line], sync=True)

        try:
            await self._pool.run(write)
        except Conflict as error:
            raise Overloaded(error.detail, stage="feedback", retry_after_ms=1000) from error
        except OSError as error:
            raise Unavailable(f"feedback cannot be written: {error.strerror or error}", stage="feedback") from error
        self._telemetry.feedback(row.kind)

    async def flushed(self) -> None:
        """Return when all that was added before is on disk, or was dropped."""
        while self._writing is not None and not self._writing.done():
            await asyncio.shield(self._writing)

    async def keep_tidy(self) -> None:
        """Remove what is too old, now and every hour, until cancelled."""
        while True:
            await asyncio.to_thread(self._tidy)
            await asyncio.sleep(TIDY_EVERY_S)

    async def aclose(self) -> None:
        await self.flushed()
        await self._pool.aclose()

    async def _write(self) -> None:
        while self._waiting:
            rows = [*self._waiting]
            self._waiting.clear()
            written = await asyncio.to_thread(self._append, rows)
            self._telemetry.query_log("written" if written else "dropped", len(rows))

    def _append(self, rows: list[QueryRow]) -> bool:
        try:
            self._lines.append([QUERY_ROW.dump_json(row) for row in rows])
        except (OSError, Conflict) as error:
            log.warning("%d lines of the query log are lost: %s", len(rows), error)
            return False
        return True

    def _tidy(self) -> None:
        for files in (self._lines, self._feedback):
            try:
                files.tidy()
            except (OSError, Conflict) as error:
                log.warning("old files of %s stay for now: %s", files.folder, error)

    def _on_disk(self, request_id: str, key: str) -> QueryRow | None:
        for line in self._lines.holding(b'"request_id":"%s"' % request_id.encode()):
            try:
                row = QUERY_ROW.validate_json(line)
            except ValidationError:
                continue  # cut short by a crash
            if (row.request_id, row.key) == (request_id, key):
                return row
        return None

    def _digest(self, query: str) -> str:
        told = " ".join(query.casefold().split()).encode("utf-8", "backslashreplace")
        return DIGEST + hmac.new(self._secret, told, hashlib.sha256).hexdigest()[:32]

    @cached_property
    def _secret(self) -> bytes:
        """Makes digests useless to who has the log alone: without it, short queries would be found by trying."""
        path = self._lines.folder / ".secret"
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            aside = path.with_name(f".secret.{secrets.token_hex(4)}")
            aside.touch(0o600, exist_ok=False)
            aside.write_bytes(secrets.token_bytes(32))
            with contextlib.suppress(FileExistsError):  # another process was first: its secret is ours
                os.link(aside, path)
            aside.unlink()
        return path.read_bytes()


class _Recent:
    """The last requests by key and id, as many as ``room`` allows; long result lists count for more."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._held: OrderedDict[tuple[str, str], QueryRow] = OrderedDict()

    def add(self, row: QueryRow) -> None:
        where = (row.key, row.request_id)
        if (before := self._held.pop(where, None)) is not None:
            self._room += _weight(before)
        self._held[where] = row
        self._room -= _weight(row)
        while self._room < 0 and len(self._held) > 1:
            self._room += _weight(self._held.popitem(last=False)[1])

    def get(self, request_id: str, key: str) -> QueryRow | None:
        return self._held.get((key, request_id))


def _without_vectors(row: QueryRow) -> QueryRow:
    """For memory, where feedback looks requests up and needs none of them."""
    if not row.vectors:
        return row
    return replace(row, vectors="", ltr="", results=tuple(replace(each, vector="") for each in row.results))


def _weight(row: QueryRow) -> int:
    return 1 + len(row.results)
