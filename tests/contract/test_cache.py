"""One suite for every cache: in this process, and in a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import SettingsError
from services.cache import Cache, MemoryCache, NoCache, RedisCache, cache_key, open_cache
from services.ports import Rights
from tests.live import RedisServer
from tests.requires import need


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.slow)])
async def cache(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Cache]:
    if request.param == "memory":
        made: Cache = MemoryCache(ttl_s=60, max_entries=100)
        yield made
        await made.aclose()
        return
    server = RedisServer(need.redis(), tmp_path)
    server.start()
    made = RedisCache(server.url, ttl_s=60, timeout_s=5)
    yield made
    await made.aclose()
    server.kill()


async def test_what_was_put_comes_back_and_nothing_else_does(cache: Cache) -> None:
    assert await cache.get("a") is None
    await cache.put("a", b"\x00one\xff")
    assert await cache.get("a") == b"\x00one\xff"
    assert await cache.get("b") is None


async def test_the_last_one_put_under_a_key_stands(cache: Cache) -> None:
    await cache.put("a", b"one")
    await cache.put("a", b"two")
    assert await cache.get("a") == b"two"


async def test_it_says_that_it_is_well(cache: Cache) -> None:
    assert await cache.state() == "ok"


class Now:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


async def test_in_this_process_entries_end_and_the_least_used_go_first() -> None:
    now = Now()
    cache = MemoryCache(ttl_s=10, max_entries=2, clock=now)
    await cache.put("a", b"1")
    now.seconds = 5
    await cache.put("b", b"2")
    assert await cache.get("a") == b"1"
    await cache.put("c", b"3")
    assert await cache.get("b") is None
    now.seconds = 10
    assert await cache.get("a") is None
    assert await cache.get("c") == b"3"


async def test_in_this_process_bytes_are_bounded_too() -> None:
    cache = MemoryCache(ttl_s=10, max_entries=100, max_bytes=10)
    await cache.put("a", b"x" * 6)
    await cache.put("b", b"x" * 6)
    assert await cache.get("a") is None
    assert await cache.get("b") is not None
    await cache.put("too large", b"x" * 11)
    assert await cache.get("too large") is None


async def test_a_time_of_nought_turns_the_cache_off() -> None:
    cache = open_cache("redis://127.0.0.1:1", ttl_s=0, max_entries=10, timeout_ms=50)
    assert isinstance(cache, NoCache)
    await cache.put("a", b"1")
    assert await cache.get("a") is None


def test_an_address_that_is_none_is_a_settings_error() -> None:
    with pytest.raises(SettingsError, match=r"cache\.redis_url"):
        open_cache("127.0.0.1:6379", ttl_s=1, max_entries=10, timeout_ms=50)


@pytest.mark.slow
async def test_a_redis_that_is_killed_is_a_miss_and_comes_back_by_itself(tmp_path: Path) -> None:
    server = RedisServer(need.redis(), tmp_path)
    server.start()
    cache = RedisCache(server.url, ttl_s=60, timeout_s=1)
    await cache.put("a", b"1")
    assert await cache.get("a") == b"1"

    server.kill()
    assert await cache.get("a") is None
    await cache.put("b", b"2")
    assert await cache.state() != "ok"

    server.start()
    while await cache.state() != "ok":
        assert await cache.get("a") is None
        await asyncio.sleep(0.02)
    await cache.put("c", b"3")
    assert await cache.get("c") == b"3"
    await cache.aclose()
    server.kill()


async def test_a_redis_that_accepts_and_says_nothing_costs_one_wait_and_then_none() -> None:
    accepted = 0

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal accepted
        accepted += 1
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    now = Now()
    cache = RedisCache(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", ttl_s=60, timeout_s=0.05, clock=now)
    assert await cache.get("a") is None
    # The clock stands still, so no trial is due: not one of these touches the network.
    for _ in range(1000):
        assert await cache.get("a") is None
        await cache.put("a", b"1")
    assert accepted == 1
    await cache.aclose()
    server.close()
    await server.wait_closed()


REQUEST = {"query": "x", "k": 10, "collection": "docs", "weights": {"lexical": 1.0, "dense": 0.5}}


def test_every_part_of_a_key_changes_it() -> None:
    keys = {
        cache_key("docs@1", "p1", Rights(), REQUEST),
        cache_key("docs@2", "p1", Rights(), REQUEST),
        cache_key("docs@1", "p2", Rights(), REQUEST),
        cache_key("docs@1", "p1", Rights(("group:a",)), REQUEST),
        *(cache_key("docs@1", "p1", Rights(), {**REQUEST, name: "other"}) for name in REQUEST),
    }
    assert len(keys) == 4 + len(REQUEST)


def test_a_key_does_not_depend_on_the_order_of_fields() -> None:
    turned = dict(reversed(REQUEST.items()))
    assert cache_key("g", "p", Rights(), REQUEST) == cache_key("g", "p", Rights(), turned)


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
def test_two_requests_share_a_key_only_if_they_are_equal(one: tuple[str, str], two: tuple[str, str]) -> None:
    keys = [cache_key("g", pipeline, Rights(), {"query": query}) for pipeline, query in (one, two)]
    assert (keys[0] == keys[1]) == (one == two)
