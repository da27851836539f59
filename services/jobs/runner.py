"""Runs builds one after another in a thread of its own, remembers each as a job, and takes unfinished ones up again."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from retrieval.errors import Conflict, DiskFull, JobNotFound, Overloaded, RiddleError
from services.jobs.builds import Build, BuildSummary, Progress
from services.jobs.store import MAX_REJECTED, Job, JobStore, RejectedFile, Summary, now
from services.jobs.uploads import JobLimits, OpenFile, open_new

log = logging.getLogger(__name__)

SAVE_EVERY_S = 1.0
"""How often, at most, mere progress is written to disk; changes of stage and state always are."""
KEPT = 200
"""How many ended jobs are remembered."""


class JobRunner:
    """Jobs of one process, under ``home/jobs``. Thread-safe; ``start`` and ``stop`` are called once each.

    ``source_folder`` is where jobs may read files of the server, None for nowhere. ``open_file``
    opens a new file for writing: the seam through which tests fill the disk.
    """

    def __init__(
        self,
        home: Path,
        build: Build,
        *,
        limits: JobLimits | None = None,
        source_folder: Path | None = None,
        open_file: OpenFile = open_new,
    ) -> None:
        self.store = JobStore(home / "jobs")
        self.limits = limits or JobLimits()
        self.source_folder = source_folder
        self.open_file = open_file
        self._build = build
        self._lock = threading.RLock()
        self._jobs: dict[str, Job] = {}
        self._cancels: dict[str, threading.Event] = {}
        self._futures: dict[str, Future[BuildSummary]] = {}
        self._saved_at: dict[str, float] = {}
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="riddle-build")
        self._stopping = threading.Event()

    def start(self) -> None:
        """Read the jobs on disk and queue those that had not ended, oldest first."""
        self.store.sweep()
        for job in self.store.jobs():
            with self._lock:
                self._jobs[job.id] = job
            if not job.ended:
                self._enqueue(replace(job, state="queued", stage="queued"))

    def stop(self) -> None:
        """Interrupt the running build and wait for it; it and the waiting ones go on at the next start."""
        self.release_watchers()
        with self._lock:
            for cancel in self._cancels.values():
                cancel.set()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def release_watchers(self) -> None:
        """End every ``watch``, so that a server that waits for its open responses can close."""
        self._stopping.set()

    def submit(self, job: Job) -> Job:
        """Save a new job and queue it. Raises Overloaded when too many wait, DiskFull."""
        with self._lock:
            waiting = sum(not each.ended for each in self._jobs.values())
            if waiting >= self.limits.max_waiting:
                raise Overloaded(f"{waiting} builds are waiting already; try again later.", retry_after_ms=30_000)
            self.store.save(job)
            self._jobs[job.id] = job
        self._prune()
        return self._enqueue(job)

    def get(self, job_id: str) -> Job:
        """The job as it stands now. Raises JobNotFound."""
        with self._lock:
            if job_id not in self._jobs:
                raise JobNotFound(f"There is no job {job_id!r}.")
            return self._jobs[job_id]

    def jobs(self) -> list[Job]:
        """Every job, newest first."""
        with self._lock:
            return sorted(self._jobs.values(), key=lambda job: (job.created, job.id), reverse=True)

    def cancel(self, job_id: str) -> Job:
        """Cancel a job that waits, or ask a running one to stop; an ended job stays as it is. Raises JobNotFound."""
        job = self.get(job_id)
        with self._lock:
            cancel, future = self._cancels.get(job_id), self._futures.get(job_id)
        if not job.ended and cancel is not None and future is not None:
            cancel.set()
            future.cancel()
        return self.get(job_id)

    def resume(self, job_id: str) -> Job:
        """Queue a failed job again, where it stopped. Raises JobNotFound, Conflict when that cannot be."""
        with self._lock:
            job = self.get(job_id)
            if job.state != "failed" or not job.resumable:
                raise Conflict(f"Job {job_id} is {job.state} and cannot be resumed; only some failed jobs can.")
            return self._enqueue(replace(job, state="queued", stage="queued", error=None, finished=None))

    async def watch(self, job_id: str, every_s: float = 0.2) -> AsyncIterator[Job]:
        """The job now and at each change, up to its end or that of the runner. Raises JobNotFound."""
        seen: Job | None = None
        while not self._stopping.is_set():
            job = self.get(job_id)
            if job is not seen:
                seen = job
                yield job
            if job.ended:
                return
            await asyncio.sleep(every_s)

    def _enqueue(self, job: Job) -> Job:
        with self._lock:
            self._set(job)
            self._cancels[job.id] = threading.Event()
            future = self._executor.submit(self._run, job.id)
            self._futures[job.id] = future
        future.add_done_callback(partial(self._settle, job.id))
        return job

    def _run(self, job_id: str) -> BuildSummary:
        """Build one job; in the build thread. Whatever it raises is read from its future in ``_settle``."""
        job = replace(self.get(job_id), state="running", stage="starting", started=now())
        self._set(job)
        paths = [Path(source) for source in job.sources] or [self.store.files(job_id)]
        return self._build(paths, job.collection, partial(self._progress, job_id), self._cancels[job_id])

    def _progress(self, job_id: str, seen: Progress) -> None:
        job = self.get(job_id)
        self._set(
            replace(
                job,
                stage=seen.stage,
                done=seen.done,
                total=seen.total,
                failed=seen.failed,
                rate_per_s=seen.rate_per_s,
                eta_s=seen.eta_s,
                checkpoint=seen.checkpoint,
            ),
            throttled=seen.stage == job.stage,
        )

    def _settle(self, job_id: str, future: Future[BuildSummary]) -> None:
        """Record how a build ended, and keep its uploads only if it is to go on.

        All in one step: a caller that sees the job ended may resume it at once.
        """
        with self._lock:
            job = self.get(job_id)
            cancel = self._cancels.pop(job_id)
            del self._futures[job_id]
            self._set(self._outcome(job, future, cancel.is_set()))
            ended = self.get(job_id)
        if ended.ended and not ended.resumable:
            self.store.drop_files(job_id)

    def _outcome(self, job: Job, future: Future[BuildSummary], cancelled: bool) -> Job:
        error = None if future.cancelled() else future.exception()
        if future.cancelled() or (cancelled and error is not None):
            return replace(job, state="queued") if self._stopping.is_set() else _cancelled(job)
        return _done(job, future.result()) if error is None else _failed(job, error)

    def _set(self, job: Job, *, throttled: bool = False) -> None:
        """Make this the job's state; a disk that is full costs the record on disk, never the job."""
        with self._lock:
            self._jobs[job.id] = job
            instant = time.monotonic()
            if throttled and instant - self._saved_at.get(job.id, 0.0) < SAVE_EVERY_S:
                return
            self._saved_at[job.id] = instant
            try:
                self.store.save(job)
            except DiskFull as error:
                log.warning("job %s: its state was not saved: %s", job.id, error.detail)

    def _prune(self) -> None:
        with self._lock:
            ended = [job.id for job in self.jobs() if job.ended]
            for job_id in ended[KEPT:]:
                del self._jobs[job_id]
                self._saved_at.pop(job_id, None)
                self.store.discard(job_id)


def _cancelled(job: Job) -> Job:
    return replace(job, state="cancelled", resumable=False, eta_s=None, finished=now())


def _done(job: Job, built: BuildSummary) -> Job:
    rejected = tuple(RejectedFile(each.source, each.reason) for each in built.rejected[:MAX_REJECTED])
    return replace(
        job,
        state="done",
        stage="done",
        done=job.total or job.done,
        failed=len(built.rejected),
        eta_s=None,
        resumable=False,
        rejected=rejected,
        summary=Summary(built.documents, built.passages, len(built.rejected), built.seconds, built.generation),
        finished=now(),
    )


def _failed(job: Job, error: BaseException) -> Job:
    """Errors we mean are shown to the caller; any other is a fault of ours, and goes to the log with its trace."""
    if isinstance(error, RiddleError):
        shown = {"code": error.code, "title": error.title, "detail": error.detail}
        resumable = error.retryable
    else:
        log.error("job %s failed", job.id, exc_info=error)
        detail = f"The build stopped on an internal error ({type(error).__name__}); the server's log has the details."
        shown, resumable = {"code": "internal", "title": "Internal error", "detail": detail}, False
    return replace(job, state="failed", eta_s=None, resumable=resumable, error=shown, finished=now())
