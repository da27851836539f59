"""Where search results are remembered: in Redis, or in this process; a cache that fails is a miss."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Protocol

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from retrieval.errors import SettingsError
from services.breaker import Breaker
from services.ports import Rights

log = logging.getLogger("riddle.cache")


class Cache(Protocol):
    """Bytes by key, for a while. Never raises for want of a server. Contract: tests/contract/test_cache.py."""

    async def get(self, key: str) -> bytes | None: ...

    async def put(self, key: str, value: bytes) -> None: ...

    async def state(self) -> str:
        """``ok``, or why it is not; never a reason for a service to be unready."""
        ...

    async def aclose(self) -> None: ...


def cache_key(generation: str, pipeline: str, rights: Rights, request: Mapping[str, object]) -> str:
    """sha256 over all that a result depends on: two requests share a key only if they share the answer.

    ``request`` is the whole request with its defaults filled in, JSON values only.
    """
    told = [generation, pipeline, sorted(rights.principals), request]
    text = json.dumps(told, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class MemoryCache:
    """The least recently used go first, and each after ``ttl_s`` seconds."""

    def __init__(
        self,
        ttl_s: float,
        max_entries: int,
        max_bytes: int = 128 << 20,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ttl = ttl_s
        self._most = max_entries
        self._room = max_bytes
        self._held = 0
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, bytes]] = OrderedDict()

    async def get(self, key: str) -> bytes | None:
        found = self._kept.get(key)
        if found is None:
            return None
        ends, value = found
        if self._clock() >= ends:
            self._forget(key)
            return None
        self._kept.move_to_end(key)
        return value

    async def put(self, key: str, value: bytes) -> None:
        self._forget(key)
        self._kept[key] = (self._clock() + self._ttl, value)
        self._held += len(value)
        while len(self._kept) > self._most or self._held > self._room:
            self._forget(next(iter(self._kept)))

    async def state(self) -> str:
        return "ok"

    async def aclose(self) -> None:
        self._kept.clear()
        self._held = 0

    def _forget(self, key: str) -> None:
        _, value = self._kept.pop(key, (0.0, b""))
        self._held -= len(value)


class NoCache:
    """Remembers nothing: ``cache.ttl_s = 0``."""

    async def get(self, key: str) -> bytes | None:
        return None

    async def put(self, key: str, value: bytes) -> None:
        return None

    async def state(self) -> str:
        return "ok"

    async def aclose(self) -> None:
        return None


class RedisCache:
    """Redis with a short patience.

    The first call that fails or takes longer than ``timeout_s`` opens the breaker; from then on every
    look-up is a miss at once, and a ping beside the requests finds out when the server is back.
    """

    def __init__(self, url: str, ttl_s: int, timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._ttl = ttl_s
        self._timeout = timeout_s
        self._breaker = Breaker(threshold=1, cooldown_s=0.25, longest_s=5.0, clock=clock)
        self._probe: asyncio.Task[None] | None = None
        try:
            self._redis: Redis = Redis.from_url(
                url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=Retry(NoBackoff(), 0)
            )
        except ValueError as error:
            raise SettingsError(f"cache.redis_url: {error}") from error

    async def get(self, key: str) -> bytes | None:
        if not self._usable():
            return None
        try:
            async with asyncio.timeout(self._timeout * 2):
                value = await self._redis.get(f"riddle:search:{key}")
        except (RedisError, OSError, TimeoutError) as error:
            self._lost(error)
            return None
        return value if isinstance(value, bytes) else None

    async def put(self, key: str, value: bytes) -> None:
        if not self._usable():
            return
        try:
            async with asyncio.timeout(self._timeout * 2):
                await self._redis.set(f"riddle:search:{key}", value, ex=self._ttl)
        except (RedisError, OSError, TimeoutError) as error:
            self._lost(error)

    async def state(self) -> str:
        return "not answering; searching without it" if self._breaker.open else "ok"

    async def aclose(self) -> None:
        if self._probe is not None:
            self._probe.cancel()
        await self._redis.aclose()

    def _usable(self) -> bool:
        if not self._breaker.open:
            return True
        if self._breaker.trial_due() and (self._probe is None or self._probe.done()):
            self._probe = asyncio.create_task(self._ping())
        return False

    async def _ping(self) -> None:
        try:
            async with asyncio.timeout(self._timeout * 4):
                await self._redis.ping()
        except (RedisError, OSError, TimeoutError):
            self._breaker.failed()
            return
        self._breaker.succeeded()
        log.info("redis answers again")

    def _lost(self, error: Exception) -> None:
        if not self._breaker.open:
            log.warning("redis does not answer (%s); searching without it until it does", type(error).__name__)
        self._breaker.failed()


def open_cache(redis_url: str, ttl_s: int, max_entries: int, timeout_ms: float) -> Cache:
    """The cache that the settings ask for. Connects to nothing yet."""
    if ttl_s == 0:
        return NoCache()
    if redis_url:
        return RedisCache(redis_url, ttl_s, timeout_ms / 1000)
    return MemoryCache(ttl_s, max_entries)
