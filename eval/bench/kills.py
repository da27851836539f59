"""Kill writers, mergers, builders and publishers at random points, and see what became of what they acknowledged."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from eval.bench.kill_plan import Plan, name, number_of, plan
from retrieval.errors import RiddleError

KINDS = ("write", "merge", "build", "publish")
PATIENCE_S = 120.0
"""For an order to be carried out; one that takes longer waits for something that will never come."""

Progress = Callable[[str], None]


@dataclass
class Ledger:
    """What was acknowledged, kept outside the process that is killed."""

    seed: int
    state: dict[str, int] = field(default_factory=dict)
    """Document id -> the batch that wrote it, as acknowledged."""
    pending: Plan | None = None
    """The batch that was begun and not acknowledged: it may be there whole, or not at all."""
    gone: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=40))
    """Batch and number of documents that were replaced or removed lately: they must not be found."""
    acknowledged: int = 0

    def begin(self, batch: int, largest: int) -> None:
        self.pending = plan(self.seed, batch, largest=largest)

    def acknowledge(self) -> None:
        if self.pending is not None:
            self._adopt(self.pending.applied(self.state))
            self.acknowledged += 1
            self.pending = None

    def judge(self, observed: Mapping[str, int]) -> str:
        """Empty when ``observed`` is what was acknowledged, with the pending batch whole or without it."""
        pending, self.pending = self.pending, None
        if observed == self.state:
            return ""
        if pending is not None and observed == pending.applied(self.state):
            self._adopt(dict(observed))
            return ""
        wanted = {each: batch for each, batch in self.state.items() if observed.get(each) != batch}
        extra = {each: batch for each, batch in observed.items() if self.state.get(each) != batch}
        unsaid = f"batch {pending.batch} was not acknowledged" if pending else "nothing was under way"
        self._adopt(dict(observed))
        return f"acknowledged and not there: {wanted}; there and not acknowledged: {extra}; {unsaid}"

    def _adopt(self, state: dict[str, int]) -> None:
        self.gone.extend((batch, number_of(each)) for each, batch in self.state.items() if state.get(each) != batch)
        self.state = state


@dataclass
class KillReport:
    """``kills`` by kind and manner; ``problems`` is empty when every one was survived as it should be."""

    kills: Counter[tuple[str, str]] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    acknowledged: int = 0
    in_flight: int = 0
    """Kills that came between the beginning of a batch and its acknowledgement."""
    kept: int = 0
    """How many of those batches were there after all, whole."""
    seconds: float = 0.0

    @property
    def count(self) -> int:
        return sum(self.kills.values())

    def as_json(self) -> dict[str, object]:
        return {
            "kills": self.count,
            "by": {f"{kind} by {manner}": count for (kind, manner), count in sorted(self.kills.items())},
            "acknowledged_batches": self.acknowledged,
            "in_flight": self.in_flight,
            "in_flight_kept_whole": self.kept,
            "problems": self.problems,
            "seconds": round(self.seconds, 1),
        }


class Child:
    """The server of ``eval.bench.kill_child``, and the orders that it carries out in forks."""

    def __init__(self, root: Path, seed: int) -> None:
        command = [sys.executable, "-m", "eval.bench.kill_child", str(root), str(seed)]
        self._server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        next(self._lines())

    def carry_out(self, order: Mapping[str, object], *, after_s: float | None = None) -> Iterator[dict[str, Any]]:
        """What the fork says, the last line being ``{"ended": status}``; it is killed after ``after_s`` seconds."""
        requests: IO[str] = self._server.stdin  # type: ignore[assignment]  # it is a pipe
        requests.write(json.dumps(order) + "\n")
        requests.flush()
        timers: list[threading.Timer] = []
        try:
            for line in self._lines():
                if "group" in line:
                    for delay in [PATIENCE_S] + ([] if after_s is None else [after_s]):
                        timers.append(threading.Timer(delay, _kill_group, (line["group"],)))
                        timers[-1].start()
                    continue
                yield line
                if "ended" in line:
                    return
        finally:
            for timer in timers:
                timer.cancel()

    def close(self) -> None:
        self._server.communicate()

    def _lines(self) -> Iterator[dict[str, Any]]:
        answers: IO[str] = self._server.stdout  # type: ignore[assignment]  # it is a pipe
        for line in answers:
            said: dict[str, Any] = json.loads(line)
            yield said
        raise RiddleError(f"the process that carries out the kills ended with {self._server.wait()}")


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class _Measure:
    """What a kind of order takes when nobody kills it, so that kills fall within it."""

    steps: int
    publishing: int
    seconds: float


class _Run:
    def __init__(self, root: Path, seed: int, child: Child) -> None:
        self.child, self.random = child, random.Random(seed)
        self.ledger, self.report = Ledger(seed), KillReport()
        self.batch = 0
        self.measures: dict[str, _Measure] = {}

    def order(self, kind: str) -> dict[str, Any]:
        """The next order of that kind. A build that was killed is ordered again: it goes on where it was."""
        if kind in ("build", "publish"):
            return {"do": "build", "batches": [self._next()]}
        batches = [self._next() for _ in range(12 if kind == "write" else 4)]
        return {"do": kind, "batches": batches, "beside": kind == "write" and self.random.random() < 0.4}

    def _next(self) -> int:
        self.batch += 1
        return self.batch

    def measure(self, kind: str) -> None:
        began = time.perf_counter()
        steps = publishing = 0
        for line in self.follow(self.order(kind) | {"step": -1}):
            steps, publishing = line.get("steps", steps), line.get("publishing", publishing)
        self.measures[kind] = _Measure(steps, publishing, time.perf_counter() - began)
        self.look(f"{kind}, not killed")

    def follow(self, order: Mapping[str, Any], *, after_s: float | None = None) -> Iterator[dict[str, Any]]:
        for line in self.child.carry_out(order, after_s=after_s):
            if "begin" in line:
                self.ledger.begin(line["begin"], line["largest"])
            elif "ack" in line:
                self.ledger.acknowledge()
                if line["refused"]:
                    self.report.problems.append(f"batch {line['ack']}: refused {line['refused']}")
            elif "error" in line:
                self.report.problems.append(f"{order['do']} {order['batches']} failed: {line['error']}")
            yield line

    def kill(self, kind: str) -> bool:
        """One try; False when the order had ended before the kill came."""
        manner = "publishing step" if kind == "publish" else self.random.choice(("time", "step"))
        measure, order, after_s = self.measures[kind], self.order(kind), None
        if manner == "time":
            after_s = self.random.uniform(0.0, measure.seconds)
        elif manner == "step":
            order["step"] = self.random.randrange(max(1, measure.steps))
        else:
            order |= {"step": self.random.randrange(max(1, measure.publishing)), "publishing": True}
        status = 0
        for line in self.follow(order, after_s=after_s):
            status = line.get("ended", status)
        if status != -signal.SIGKILL:
            return False
        self.report.kills[kind, manner] += 1
        pending = self.ledger.pending
        self.look(f"kill {self.report.count}, {kind} by {manner}, {order}")
        if pending is not None:
            self.report.in_flight += 1
            self.report.kept += any(self.ledger.state.get(name(number)) == pending.batch for number in pending.puts)
            if order["do"] == "build" and self.random.random() < 0.7:
                self._build_again(pending.batch)
        return True

    def _build_again(self, batch: int) -> None:
        """The same build with the same key: what it had finished is not done again, and it ends as it should."""
        for _ in self.follow({"do": "build", "batches": [batch]}):
            pass
        self.look(f"build {batch}, gone on with")

    def look(self, when: str) -> None:
        for line in self.child.carry_out({"do": "look", "gone": list(self.ledger.gone)}):
            if "state" in line:
                found = self.ledger.judge(line["state"])
                self.report.problems += [
                    f"{when}: {problem}" for problem in [*line["problems"], *([found] if found else [])]
                ]
            elif "error" in line or line.get("ended", 0):
                self.report.problems.append(f"{when}: the collection cannot be looked at: {line}")


def run_kills(root: Path, count: int, seed: int, *, progress: Progress = lambda text: None) -> KillReport:
    """``count`` kills of one collection below ``root``, which lives through all of them.

    Kinds take turns. A writer writes batches, at times with a merger beside it; a merger writes and compacts; a builder
    writes a generation, and when it was killed is mostly started again; a publisher is a builder that dies between the
    steps that touch the pointer and the generations. Half of the kills come after a random time, from outside; half
    before a random step that the interpreter announces. After each the collection is opened by a fresh process, its
    files are checked, and every document is looked for by id, by words and by vector.
    """
    began = time.perf_counter()
    with contextlib.closing(Child(root, seed)) as child:
        run = _Run(root, seed, child)
        for kind in KINDS:
            run.measure(kind)
        tries = 0
        while run.report.count < count and tries < 4 * count + 40:
            kind = KINDS[tries % len(KINDS)]
            tries += 1
            if run.kill(kind) and run.report.count % 20 == 0:
                progress(f"{run.report.count} of {count} kills, {len(run.report.problems)} problems")
    run.report.acknowledged = run.ledger.acknowledged
    run.report.seconds = time.perf_counter() - began
    return run.report
