"""How a job is kept on disk: its state in one JSON file, its uploads beside that until it is done."""

from __future__ import annotations

import dataclasses
import errno
import json
import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from retrieval.errors import DiskFull, JobNotFound

log = logging.getLogger(__name__)

State = Literal["queued", "running", "done", "failed", "cancelled"]
FINISHED: frozenset[State] = frozenset({"done", "failed", "cancelled"})
MAX_REJECTED = 1000
"""How many rejected files a job names; ``failed`` counts them all."""

_ID = re.compile(r"job_[0-9a-f]{16}")
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True, slots=True)
class RejectedFile:
    """A file that the build set aside, and why."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class Summary:
    """What a finished build published; ``seconds`` counts the last run of a build that was resumed."""

    documents: int
    passages: int
    rejected: int
    seconds: float
    generation: str


@dataclass(frozen=True, slots=True)
class Job:
    """One build, as the API shows it; never changed in place, so that any thread may hold one."""

    id: str
    collection: str
    created: str
    """ISO 8601, UTC."""
    state: State = "queued"
    stage: str = "queued"
    done: int = 0
    total: int | None = None
    """None while the build does not know yet how much there is to do."""
    failed: int = 0
    rate_per_s: float | None = None
    eta_s: float | None = None
    checkpoint: str | None = None
    resumable: bool = True
    """Whether the job goes on where it stopped, by itself at the next start, or when asked if it failed."""
    files: int = 0
    bytes: int = 0
    """Of what was uploaded; both 0 when the build reads ``sources`` of the server."""
    sources: tuple[str, ...] = ()
    rejected: tuple[RejectedFile, ...] = ()
    summary: Summary | None = None
    error: Mapping[str, str] | None = None
    """``code``, ``title`` and ``detail`` of what ended a failed job."""
    started: str | None = None
    finished: str | None = None

    @property
    def ended(self) -> bool:
        return self.state in FINISHED

    def public(self) -> dict[str, object]:
        """The job as JSON for the API and for the file on disk, in the shape of API.md."""
        return dataclasses.asdict(self)


def now() -> str:
    """This instant, ISO 8601 in UTC, to the microsecond so that jobs sort by it."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


@contextmanager
def space_needed(what: str) -> Iterator[None]:
    """Turn the operating system's out-of-space errors into DiskFull, saying what could not be written."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFull(f"No space left on the disk for {what}; free some and try again.") from error
        raise


class JobStore:
    """Folders ``root/<id>/`` with ``job.json`` and, until the job is done, ``files/``.

    A folder without ``job.json`` is an upload that never finished; ``sweep`` removes it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def begin(self) -> str:
        """Make the folder of a new job, and its ``files/``; returns the id. Raises DiskFull."""
        job_id = f"job_{secrets.token_hex(8)}"
        with space_needed("a new job"):
            self.files(job_id).mkdir(parents=True)
        return job_id

    def files(self, job_id: str) -> Path:
        """The folder that holds what was uploaded for this job."""
        if not _ID.fullmatch(job_id):
            raise JobNotFound(f"There is no job {job_id!r}.")
        return self.root / job_id / "files"

    def save(self, job: Job) -> None:
        """Replace the job's file in one step, so that a reader sees the old state or the new. Raises DiskFull."""
        target = self.files(job.id).parent / "job.json"
        aside = target.with_suffix(".json.part")
        with space_needed("the state of a job"):
            with aside.open("w", encoding="utf-8") as out:
                json.dump(job.public(), out, ensure_ascii=False)
                out.flush()
                os.fsync(out.fileno())
            aside.replace(target)

    def load(self, job_id: str) -> Job:
        """Read one job. Raises JobNotFound, and ValueError when its file is not what ``save`` writes."""
        try:
            text = (self.files(job_id).parent / "job.json").read_text("utf-8")
        except FileNotFoundError as error:
            raise JobNotFound(f"There is no job {job_id!r}.") from error
        return _job(json.loads(text))

    def jobs(self) -> list[Job]:
        """Every readable job, oldest first; one that cannot be read is logged and left where it is."""
        found: list[Job] = []
        for folder in self._folders():
            try:
                found.append(self.load(folder.name))
            except JobNotFound:
                continue
            except (ValueError, TypeError, KeyError) as error:
                log.warning("job %s is left out: its file cannot be read (%s)", folder.name, error)
        return sorted(found, key=lambda job: (job.created, job.id))

    def sweep(self) -> None:
        """Remove uploads that were cut off by the end of an earlier process."""
        for folder in self._folders():
            if not (folder / "job.json").exists():
                shutil.rmtree(folder, ignore_errors=True)

    def drop_files(self, job_id: str) -> None:
        """Delete what was uploaded; the job's record stays."""
        shutil.rmtree(self.files(job_id), ignore_errors=True)

    def discard(self, job_id: str) -> None:
        """Delete the job and all that belongs to it."""
        shutil.rmtree(self.files(job_id).parent, ignore_errors=True)

    def _folders(self) -> list[Path]:
        if not self.root.is_dir():
            return []
        return sorted(path for path in self.root.iterdir() if _ID.fullmatch(path.name) and path.is_dir())


def _job(raw: object) -> Job:
    """A job from what ``Job.public`` gave. Raises TypeError or KeyError when it is something else."""
    if not isinstance(raw, dict):
        raise TypeError(f"expected an object, found {type(raw).__name__}")
    known = {field.name for field in dataclasses.fields(Job)}
    values = {key: value for key, value in raw.items() if key in known}
    values["sources"] = tuple(values.get("sources", ()))
    values["rejected"] = tuple(RejectedFile(each["source"], each["reason"]) for each in values.get("rejected", ()))
    summary = values.get("summary")
    values["summary"] = Summary(**summary) if summary is not None else None
    return Job(**values)
