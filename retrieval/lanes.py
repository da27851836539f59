"""Runs independent pieces of one call side by side, on a few threads that all calls share."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class Lanes:
    """``count`` lanes, of which the caller's own thread is one. Thread-safe.

    For work that leaves Python's lock, as a transformer's forward pass does. A call never waits for
    another call's pieces: lanes that are busy elsewhere are done without.
    """

    def __init__(self, count: int) -> None:
        self._others = count - 1
        self._pool = ThreadPoolExecutor(self._others, thread_name_prefix="lane") if count > 1 else None

    def run(self, work: Callable[[T], None], pieces: Sequence[T], stop: Callable[[], bool] = lambda: False) -> None:
        """Do ``work`` on the pieces, begun in their order; ``stop`` is asked before each.

        Returns when every piece that was begun is done. Raises what ``work`` raised first; no more pieces
        are begun then.
        """
        waiting = deque(pieces)  # popleft is atomic
        failed = threading.Event()

        def lane() -> None:
            while not (failed.is_set() or stop()):
                try:
                    piece = waiting.popleft()
                except IndexError:
                    return
                try:
                    work(piece)
                except BaseException:
                    failed.set()
                    raise

        others = []
        if self._pool is not None:
            others = [self._pool.submit(lane) for _ in range(min(self._others, len(pieces) - 1))]
        try:
            lane()
        finally:
            for other in others:
                if not other.cancel():
                    other.exception()
        for other in others:
            if not other.cancelled():
                other.result()
