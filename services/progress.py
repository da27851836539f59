"""How far a build or a sync is, on stderr: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from indexing.progress import Progress

EVERY_S = 30.0
"""Without a terminal, the time after which a stage that goes on says how far it is."""

Show = Callable[["Progress"], None]


@contextmanager
def shown(*, quiet: bool) -> Iterator[Show]:
    """Where to tell progress: a bar with rate and time left; without a terminal lines; nothing when ``quiet``."""
    if quiet:
        yield lambda progress: None
    elif not sys.stderr.isatty():
        yield Lines(lambda line: print(line, file=sys.stderr, flush=True))
    else:
        with _bar() as show:
            yield show


class Counted:
    """Shows questions of a run as they are done, called as ``say(part, done, total, failed)`` within its context."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._stack = ExitStack()
        self._quiet = quiet
        self._began: dict[str, tuple[float, int]] = {}

    def __enter__(self) -> Counted:
        self._show = self._stack.enter_context(shown(quiet=self._quiet))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __call__(self, part: str, done: int, total: int, failed: int) -> None:
        from indexing.progress import Progress

        began, first = self._began.setdefault(part, (time.monotonic(), done))
        seconds = time.monotonic() - began
        rate = (done - first) / seconds if done > first and seconds > 0 else None
        left = None if not rate else (total - done) / rate
        self._show(Progress(part, done, total, failed, rate, left, ""))


class Lines:
    """A line when a stage begins, and one every ``EVERY_S`` seconds while it goes on."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write, self._clock = write, clock
        self._stage = ""
        self._said = 0.0

    def __call__(self, progress: Progress) -> None:
        now = self._clock()
        if progress.stage == self._stage and now - self._said < EVERY_S:
            return
        begun = progress.stage != self._stage
        self._stage, self._said = progress.stage, now
        of = "" if progress.total is None else f" {progress.total:,}"
        self._write(f"{progress.stage}{of} …" if begun else _line(progress))


def _line(progress: Progress) -> str:
    share = "" if not progress.total else f" of {progress.total:,} ({progress.done / progress.total:.0%})"
    return "  ".join(filter(None, (f"{progress.stage} {progress.done:,}{share}", pace(progress))))


@contextmanager
def _bar() -> Iterator[Show]:
    """A bar that goes when the block ends."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description:>10}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} / {task.fields[of]}"),
        TextColumn("{task.fields[pace]}"),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as drawn:
        task = drawn.add_task("opening", total=None, of="?", pace="")

        def show(progress: Progress) -> None:
            of = "?" if progress.total is None else f"{progress.total:,}"
            drawn.update(
                task,
                description=progress.stage,
                completed=progress.done,
                total=progress.total,
                of=of,
                pace=pace(progress),
            )

        yield show


def pace(progress: Progress) -> str:
    """Rate, time left, and how many were set aside, as far as they are known."""
    rate = "" if progress.rate_per_s is None else f"{progress.rate_per_s:,.1f}/s"
    left = ""
    if progress.eta_s is not None:
        minutes, seconds = divmod(round(progress.eta_s), 60)
        hours, minutes = divmod(minutes, 60)
        left = f"{hours}:{minutes:02}:{seconds:02} left" if hours else f"{minutes}:{seconds:02} left"
    failed = f"{progress.failed:,} set aside" if progress.failed else ""
    return "  ".join(part for part in (rate, left, failed) if part)
