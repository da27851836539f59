"""A process that works only where nobody else wants the processor, until its work presses."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

_NICE = 10
_LOOK_S = 0.5


def give_way(pressing: Callable[[], bool]) -> None:
    """Run at the lowest priority from now on, and for as long as ``pressing`` says so at a low one.

    A process that is merely nice still holds a processor for some milliseconds before a search that wakes gets it,
    and the kernel does not count that processor as free; at the lowest priority it does. But there the process may get
    next to nothing on a busy machine. Where the system knows no such priority (it is Linux's SCHED_IDLE) it is nice.
    """
    os.nice(_NICE)
    if not hasattr(os, "SCHED_IDLE"):
        return
    _schedule(os.SCHED_IDLE)
    threading.Thread(target=_watch, args=(pressing,), name="give-way", daemon=True).start()


def _watch(pressing: Callable[[], bool]) -> None:
    waits = threading.Event()
    now = os.SCHED_IDLE
    while not waits.wait(_LOOK_S):
        wanted = os.SCHED_OTHER if pressing() else os.SCHED_IDLE
        if wanted != now:
            _schedule(wanted)
            now = wanted


def _schedule(policy: int) -> None:
    """For every thread of this process; those that they start take after them."""
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # it has ended, or the system forbids it: then as it was
            os.sched_setscheduler(int(task.name), policy, os.sched_param(0))
