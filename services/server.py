"""How a server runs as a process: a port that is ours before anything loads, a word when ready, a drain at the end."""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import FrameType

import uvicorn
from fastapi import FastAPI

from retrieval.errors import Conflict, SettingsError

log = logging.getLogger("riddle.server")


def listen(host: str, port: int) -> socket.socket:
    """Take the address, before models are loaded. Raises Conflict when another process has it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only where it sees the protocol named; with it on, an answer in two
    # writes waits 40 ms for the acknowledgement of the first.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        # Bound alone, two processes could hold the port until both listen.
        listening.listen(1024)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise Conflict(
                f"port {port} on {host} is taken: stop what listens there, or choose another with --port or RIDDLE_PORT"
            ) from error
        raise SettingsError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    listening.set_inheritable(False)
    return listening


def address_of(listening: socket.socket) -> str:
    """The address for a browser, with the port that was really taken."""
    host, port = listening.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


def run(app: FastAPI, listening: socket.socket, drain_s: float) -> None:
    """Serve until SIGTERM or SIGINT; requests in flight get ``drain_s`` seconds to finish, then return."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=max(1, round(drain_s)),
        server_header=False,
    )
    # uvicorn raises the signal again when it has drained, for whoever handled it before: nobody, so that
    # the process goes on to its orderly end with exit code 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    _Draining(config, app).run(sockets=[listening])


class _Draining(uvicorn.Server):
    """Ends streams that never end by themselves before it waits for open responses.

    What holds such streams puts a function into ``app.state.on_drain``; each is called once, when the
    first signal arrives.
    """

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self.should_exit:
            on_drain: Iterable[Callable[[], object]] = getattr(self._app.state, "on_drain", ())
            for release in on_drain:
                release()
        super().handle_exit(sig, frame)


async def when_ready(ready: Callable[[], Awaitable[Mapping[str, str]]], say: Callable[[str], None]) -> None:
    """Tell ``say`` once each part that cannot be had and why, and ``ready`` when all are ``ok``."""
    told: set[str] = set()
    while True:
        parts = await ready()
        waiting = {name: state for name, state in parts.items() if state != "ok"}
        if not waiting:
            say("ready")
            return
        for name, state in waiting.items():
            line = f"{name}: {state}"
            if state != "loading" and line not in told:
                told.add(line)
                say(line)
        await asyncio.sleep(0.1)


def log_to_stderr(level: int = logging.INFO) -> None:
    """Log lines of the service on stderr; warnings alone of the libraries under it."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("riddle").setLevel(level)
