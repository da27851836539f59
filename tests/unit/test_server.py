"""The socket that a server listens on: taken once, told plainly, without Nagle's delay."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading

import httpx
import pytest

from retrieval.errors import Conflict, SettingsError
from services.server import address_of, listen, when_ready


def test_a_port_that_is_taken_is_a_conflict_that_names_the_way_out() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(Conflict, match=rf"port {port} on 127\.0\.0\.1 is taken: .*--port or RIDDLE_PORT"):
            listen("127.0.0.1", port)


def test_an_address_that_is_not_ours_is_a_settings_error() -> None:
    with pytest.raises(SettingsError, match=r"192\.0\.2\.1"):
        listen("192.0.2.1", 0)


def test_the_address_is_one_that_a_browser_can_open() -> None:
    with listen("0.0.0.0", 0) as everywhere:
        assert address_of(everywhere) == f"http://127.0.0.1:{everywhere.getsockname()[1]}"


def test_answers_are_not_held_back_for_acknowledgements() -> None:
    """asyncio switches Nagle's algorithm off for sockets whose protocol it can see; an accepted one inherits it."""
    with listen("127.0.0.1", 0) as listening:
        client = threading.Thread(target=lambda: socket.create_connection(listening.getsockname()).close())
        client.start()
        accepted, _ = listening.accept()
        client.join()
        with accepted:
            assert accepted.proto == socket.IPPROTO_TCP


async def test_what_is_missing_is_said_once_and_then_that_all_is_ready() -> None:
    states = iter(
        [
            {"encoder": "loading", "reranker": "loading"},
            {"encoder": "ok", "reranker": "riddle models pull it"},
            {"encoder": "ok", "reranker": "riddle models pull it"},
            {"encoder": "ok", "reranker": "ok"},
        ]
    )
    said: list[str] = []

    async def ready() -> dict[str, str]:
        return next(states)

    await when_ready(ready, said.append)
    assert said == ["reranker: riddle models pull it", "ready"]


ENDLESS = """
import asyncio, threading
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from services.server import address_of, listen, run

app, over = FastAPI(), threading.Event()
app.state.on_drain = [over.set]

@app.get("/")
async def endless() -> StreamingResponse:
    async def beats():
        while not over.is_set():
            yield b"beat\\n"
            await asyncio.sleep(0.05)
        yield b"end\\n"
    return StreamingResponse(beats())

listening = listen("127.0.0.1", 0)
print(address_of(listening), flush=True)
run(app, listening, drain_s=60)
"""


def test_a_stream_that_never_ends_by_itself_is_ended_when_the_server_is_told_to_stop() -> None:
    """With 60 s to drain, the time-out of the test would come long before the server gave up waiting."""
    with subprocess.Popen([sys.executable, "-c", ENDLESS], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        with httpx.stream("GET", address, timeout=20) as response:
            lines = response.iter_lines()
            assert next(lines) == "beat"
            server.send_signal(signal.SIGTERM)
            assert list(lines)[-1] == "end"
        assert server.wait(20) == 0
