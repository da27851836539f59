"""Puts the small requests of many callers into shared batches of a model, in fair turns, and refuses beyond a queue."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from retrieval.errors import Overloaded, TooLarge, Unavailable

Item = TypeVar("Item")
Out = TypeVar("Out")

_MEMORY = 0.8
"""How much of the measured speed is kept when a batch tells a new one."""


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How much goes into one batch, how long it waits for company, and how much may wait for its turn."""

    batch_tokens: int = 2048
    batch_texts: int = 256
    wait_ms: float = 2.0
    queue_tokens: int = 262_144

    def __post_init__(self) -> None:
        if min(self.batch_tokens, self.batch_texts, self.queue_tokens) < 1 or self.wait_ms < 0:
            raise ValueError(f"batches and the queue must hold at least 1, and the wait cannot be negative: {self}")


@dataclass(frozen=True, slots=True)
class Batch:
    """What one batch was made of; ``waited_ms`` is how long the first of its callers had waited when it began."""

    callers: int
    texts: int
    tokens: int
    waited_ms: float


class Batcher(Generic[Item, Out]):
    """Carries out ``work`` on the items of all callers, one batch at a time. Lives on one event loop.

    A batch is filled by taking one item of each caller in turn, so that a request of two texts is in
    the next batch whatever stands before it. When nothing runs the first caller waits ``wait_ms`` for
    others, or until a batch is full; not after a batch that nobody shared, for one who asks alone would
    wait in vain each time. ``size`` is an item's tokens; a batch holds at most ``batch_tokens``,
    or one item that is larger. A caller that is cancelled, or whose deadline passes, takes its items with
    it; what the model is busy with then is finished and thrown away.
    """

    def __init__(
        self,
        stage: str,
        work: Callable[[Sequence[Item]], Awaitable[Sequence[Out]]],
        size: Callable[[Item], int],
        limits: BatchLimits,
        observe: Callable[[Batch], None] = lambda batch: None,
    ) -> None:
        self.stage = stage
        self._work = work
        self._size = size
        self._limits = limits
        self._observe = observe
        self._calls: deque[_Call[Item, Out]] = deque()
        self._full = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None
        self._speed = 0.0
        self._shared = True
        self._closed = False

    @property
    def waiting(self) -> int:
        """Tokens that wait for their turn."""
        return sum(call.left for call in self._calls)

    async def run(self, items: Sequence[Item], deadline: float | None = None) -> list[Out]:
        """The outcome of each item, in order. ``deadline`` is an instant of the loop's clock.

        Raises TooLarge for what the queue could never hold, Overloaded when it is full now, Unavailable
        when the deadline comes first, and what ``work`` raised for a batch with one of these items.
        """
        if not items:
            return []
        if self._closed:
            raise self._ended()
        call: _Call[Item, Out] = _Call(items, [self._size(item) for item in items], asyncio.get_running_loop().time())
        self._admit(call.left)
        self._calls.append(call)
        if self.waiting >= self._limits.batch_tokens:
            self._full.set()
        if self._serving is None:
            self._serving = asyncio.create_task(self._serve())
        try:
            async with asyncio.timeout_at(deadline) as limit:
                return await call.done
        except TimeoutError:
            if not limit.expired():
                raise
            raise Unavailable(
                f"the time for this request ended before the {self.stage} model had done it",
                stage=self.stage,
                retry_after_ms=self._drained_ms(),
            ) from None
        finally:
            self._leave(call)

    async def aclose(self) -> None:
        """Begin nothing more; those who wait are told."""
        self._closed = True
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.gather(self._serving, return_exceptions=True)
        for call in list(self._calls):
            call.fail(self._ended())

    def _admit(self, tokens: int) -> None:
        room = self._limits.queue_tokens
        if tokens > room:
            raise TooLarge(
                f"the texts are of {tokens:,} tokens, and at most {room:,} are taken at once: send them in parts"
            )
        if self.waiting + tokens > room:
            raise Overloaded(f"the {self.stage} queue is full", stage=self.stage, retry_after_ms=self._drained_ms())

    def _drained_ms(self) -> int:
        """When what waits now will be done, by the speed of late; a guess before the first batch."""
        return round(min(60_000.0, max(100.0, self.waiting / self._speed * 1000))) if self._speed else 500

    async def _serve(self) -> None:
        await self._company()
        while self._calls:
            await self._carry_out(self._next())
        # Nothing is awaited between the last look at the calls and here: no caller falls in between.
        self._serving = None

    async def _company(self) -> None:
        self._full.clear()
        if self._shared and self.waiting < self._limits.batch_tokens:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._limits.wait_ms / 1000):
                    await self._full.wait()

    def _next(self) -> list[tuple[_Call[Item, Out], int]]:
        """The next batch: items by their caller and place."""
        batch: list[tuple[_Call[Item, Out], int]] = []
        tokens = 0
        while self._calls and len(batch) < self._limits.batch_texts:
            call = self._calls[0]
            tokens += call.next_size
            if batch and tokens > self._limits.batch_tokens:
                break
            batch.append((call, call.take()))
            self._calls.popleft()
            if call.more:
                self._calls.append(call)
        return batch

    async def _carry_out(self, batch: list[tuple[_Call[Item, Out], int]]) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        calls = {id(call): call for call, _ in batch}.values()
        tokens = sum(call.sizes[at] for call, at in batch)
        self._shared = len(calls) > 1
        self._observe(Batch(len(calls), len(batch), tokens, (began - min(call.came for call in calls)) * 1000))
        try:
            found = await self._work([call.items[at] for call, at in batch])
            for (call, at), out in zip(batch, found, strict=True):
                call.put(at, out)
        except asyncio.CancelledError:
            for call in calls:
                call.fail(self._ended())
            raise
        except Exception as error:  # noqa: BLE001 - whatever the model raised is told to those who asked, and to nobody else
            for call in calls:
                call.fail(error)
                self._leave(call)
        spent = loop.time() - began
        if spent > 0:
            speed = tokens / spent
            self._speed = _MEMORY * self._speed + (1 - _MEMORY) * speed if self._speed else speed

    def _ended(self) -> Unavailable:
        return Unavailable(f"the {self.stage} service ends", stage=self.stage)

    def _leave(self, call: _Call[Item, Out]) -> None:
        if call in self._calls:
            self._calls.remove(call)


class _Call(Generic[Item, Out]):
    """One caller's items, longest first so that like stands beside like, and what has come of them."""

    def __init__(self, items: Sequence[Item], sizes: Sequence[int], came: float) -> None:
        self.items = items
        self.sizes = sizes
        self.came = came
        self.left = sum(sizes)
        self.done: asyncio.Future[list[Out]] = asyncio.get_running_loop().create_future()
        self._order = deque(sorted(range(len(items)), key=lambda at: -sizes[at]))
        self._found: dict[int, Out] = {}

    @property
    def more(self) -> bool:
        """Whether items of it have not begun."""
        return bool(self._order)

    @property
    def next_size(self) -> int:
        return self.sizes[self._order[0]]

    def take(self) -> int:
        at = self._order.popleft()
        self.left -= self.sizes[at]
        return at

    def put(self, at: int, out: Out) -> None:
        self._found[at] = out
        if len(self._found) == len(self.items) and not self.done.done():
            self.done.set_result([self._found[each] for each in range(len(self.items))])

    def fail(self, error: BaseException) -> None:
        if not self.done.done():
            self.done.set_exception(error)
