"""A grid of settings: which points there are, which of them may be carried out side by side, and which are done."""

from __future__ import annotations

import hashlib
import itertools
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from eval.runs import RunFolder
from retrieval.errors import InvalidRequest, RiddleError

DECIDES_INDEX = ("models.encoder", "build.near_duplicates", "chunk.", "build.late", "build.late_bits")
"""Settings, and sections of settings, that need an index of their own."""

MOST_POINTS = 1000
_NAME_CHARS = 80


@dataclass(frozen=True, slots=True)
class Point:
    """One combination of settings, as ``--set`` takes them."""

    settings: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """Names the point's run folder: readable, and not the same for two points."""
        told = ",".join(f"{key}={value}" for key, value in self.settings)
        plain = re.sub(r"[^\w.=,+-]", "-", told)
        if plain == told and len(told) <= _NAME_CHARS:
            return told
        return f"{plain[:_NAME_CHARS]}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"

    @property
    def index(self) -> tuple[tuple[str, str], ...]:
        """What decides the index that it searches; points of which this is equal share one."""
        return tuple(pair for pair in self.settings if any(decides(pair[0], each) for each in DECIDES_INDEX))


def decides(key: str, section: str) -> bool:
    """Whether ``key`` is ``section``, or lies in it where that ends with a dot."""
    return key == section or (section.endswith(".") and key.startswith(section))


def grid(axes: Mapping[str, Sequence[str]]) -> tuple[Point, ...]:
    """Every combination of the values, the last axis changing fastest. Raises InvalidRequest for an empty one."""
    for key, values in axes.items():
        if not values:
            raise InvalidRequest(f"{key} has no values to try")
        if len(set(values)) < len(values):
            raise InvalidRequest(f"{key} names a value twice: {', '.join(values)}")
    if not axes:
        raise InvalidRequest("there is nothing to try: name settings with --set KEY=V1,V2 or in a --grid file")
    combined = itertools.product(*([(key, value) for value in values] for key, values in axes.items()))
    points = tuple(Point(tuple(pairs)) for pairs in itertools.islice(combined, MOST_POINTS + 1))
    if len(points) > MOST_POINTS:
        raise InvalidRequest(f"these are more than {MOST_POINTS} combinations; take out some values")
    return points


class Runner(Protocol):
    """Carries out points. Thread-safe."""

    def __call__(self, point: Point) -> None:
        """Returns when the point's run folder is finished. Raises RiddleError saying why it is not."""
        ...

    def stop(self) -> None:
        """End what is under way: called when the sweep is broken off."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a sweep is."""

    total: int
    done: int
    """Of them finished, now or before."""
    failed: int
    running: tuple[str, ...]
    left_s: float | None
    """Seconds that it will take yet, judging by the points of now; None before the first is through."""
    said: str
    """What has just happened."""


def finished(folder: Path) -> bool:
    """Whether a run folder is there and whole."""
    try:
        return RunFolder(folder).manifest().finished
    except RiddleError:
        return False


def carry_out(
    points: Sequence[Point],
    out: Path,
    runner: Runner,
    jobs: int = 2,
    indexed: bool = False,
    say: Callable[[Progress], None] = lambda progress: None,
    clock: Callable[[], float] = time.monotonic,
) -> dict[Point, str]:
    """Carry out all points whose folder below ``out`` is not finished, ``jobs`` at once. Returns those that failed.

    Points that share an index wait until the first of them has built it, unless all are ``indexed`` already. A
    point that fails stops no other; what it says is returned, and the next call tries it again.
    """
    sweep = _Sweep(points, out, jobs, indexed, clock)
    say(sweep.progress("begun"))
    pool = ThreadPoolExecutor(jobs, "sweep")
    try:
        while sweep.waiting or sweep.running:
            for point in sweep.startable():
                sweep.start(pool, runner, point)
                say(sweep.progress(f"started {point.name}"))
            for future in wait(sweep.running, return_when=FIRST_COMPLETED).done:
                say(sweep.progress(sweep.end(future)))
    except BaseException:  # an interrupt too: children must not outlive the sweep
        runner.stop()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    return sweep.failed


class _Sweep:
    """What is waiting, under way and through."""

    def __init__(
        self, points: Sequence[Point], out: Path, jobs: int, indexed: bool, clock: Callable[[], float]
    ) -> None:
        self._out, self._jobs, self._clock = out, jobs, clock
        self._total = len(points)
        there = [point for point in points if finished(out / point.name)]
        self._built = {point.index for point in (points if indexed else there)}
        self._before = len(there)
        self._began: dict[Point, float] = {}
        self._took: list[float] = []
        self.waiting = [point for point in points if point not in set(there)]
        self.running: dict[Future[None], Point] = {}
        self.failed: dict[Point, str] = {}

    def startable(self) -> list[Point]:
        """Points that may begin now: first those that build an index, so that others need not wait long for it."""
        building = {point.index for point in self.running.values()} - self._built
        chosen: list[Point] = []
        for point in sorted(self.waiting, key=lambda each: each.index in self._built):
            if len(self.running) + len(chosen) < self._jobs and point.index not in building:
                chosen.append(point)
                building |= {point.index} - self._built
        return chosen

    def start(self, pool: ThreadPoolExecutor, runner: Runner, point: Point) -> None:
        self.waiting.remove(point)
        self._began[point] = self._clock()
        self.running[pool.submit(runner, point)] = point

    def end(self, future: Future[None]) -> str:
        """Take note of how a point ended, and say it. Raises what is no RiddleError."""
        point = self.running.pop(future)
        try:
            future.result()
            if not finished(self._out / point.name):
                raise RiddleError("it ended without a finished run folder")
        except RiddleError as error:
            self.failed[point] = error.detail
            return f"FAILED {point.name}: {error.detail}"
        self._built.add(point.index)
        self._took.append(self._clock() - self._began[point])
        return f"finished {point.name} in {self._took[-1]:,.0f} s"

    def progress(self, said: str) -> Progress:
        left = None
        if self._took:
            rounds = (len(self.waiting) + len(self.running)) / self._jobs
            left = rounds * sum(self._took) / len(self._took)
        done = self._before + len(self._took)
        return Progress(
            self._total, done, len(self.failed), tuple(each.name for each in self.running.values()), left, said
        )


def axes_of(assignments: Iterable[str]) -> dict[str, list[str]]:
    """``KEY=V1,V2`` as axes, in the order given. Raises InvalidRequest."""
    axes: dict[str, list[str]] = {}
    for each in assignments:
        key, equals, values = each.partition("=")
        if not equals or not key.strip():
            raise InvalidRequest(f"{each!r}: wants KEY=V1,V2, such as rank.depth=10,20,50")
        if key.strip() in axes:
            raise InvalidRequest(f"{key.strip()} is named twice; put all its values behind one --set")
        axes[key.strip()] = [value.strip() for value in values.split(",")]
    return axes
