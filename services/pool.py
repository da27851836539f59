"""Where arithmetic leaves the event loop: a few threads behind a queue that refuses rather than grows."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from retrieval.errors import Overloaded

T = TypeVar("T")


class Pool:
    """At most ``workers`` calls run and ``queue`` more wait; the next is refused with Overloaded.

    A caller that is cancelled stops waiting at once; its call keeps its place until the thread is done
    with it, or leaves the queue if it had not begun.
    """

    def __init__(self, stage: str, workers: int, queue: int) -> None:
        self.stage = stage
        self._room = workers + queue
        self._inside = 0
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix=f"riddle-{stage}")

    async def run(self, call: Callable[[], T]) -> T:
        """Carry out ``call`` in a thread. Raises what it raises, or Overloaded without having begun."""
        if self._inside >= self._room:
            raise Overloaded(f"the {self.stage} queue is full", stage=self.stage, retry_after_ms=500)
        loop = asyncio.get_running_loop()
        self._inside += 1
        future = self._threads.submit(contextvars.copy_context().run, call)

        def left(_: Future[T]) -> None:
            # The thread may finish after the loop has closed, at the end of the process.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._leave)

        future.add_done_callback(left)
        return await asyncio.wrap_future(future)

    async def aclose(self) -> None:
        """Begin nothing more; what runs, runs out."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _leave(self) -> None:
        self._inside -= 1
