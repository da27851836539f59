"""`riddle bench`: measure a service on this machine and say how it stands against its targets."""

from __future__ import annotations

import contextlib
import json as json_module
import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from retrieval.errors import RiddleError, Unavailable
from services.commands.common import Config, Debug, Home, Json, fail, load_settings, note, print_json, say

if TYPE_CHECKING:
    import httpx

    from eval.bench.demo import DemoReport

START_S = 120.0
"""How long a service may take to answer /readyz before the bench gives up."""


def register(app: typer.Typer) -> None:
    bench = typer.Typer(no_args_is_help=True, help="Measure speed and quality on this machine.")
    bench.callback()(_root)
    bench.command()(demo)
    app.add_typer(bench, name="bench")


def _root() -> None:
    """Measure speed and quality on this machine.

    Example: riddle bench demo
    """


def demo(
    home: Home = None,
    config: Config = None,
    collection: Annotated[str, typer.Option(help="The collection that holds the demo pages.")] = "django",
    url: Annotated[str, typer.Option(help="A service that runs already; by default one is started.")] = "",
    rounds: Annotated[int, typer.Option(min=1, help="How often each of the thirty questions is searched.")] = 3,
    depth: Annotated[int, typer.Option(min=0, help="How many passages the cross-encoder reads.")] = 20,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Latency and quality over the demo collection, against the targets that the project set itself.

    Needs the collection that `riddle demo` or `make demo` builds. Do not run anything beside it.

    Example: riddle bench demo --home .riddle
    """
    import httpx

    from eval.bench.demo import bench_demo

    settings = load_settings(home, config)
    with contextlib.ExitStack() as stack:
        address = url or stack.enter_context(_started(settings.home, config))
        client = stack.enter_context(httpx.Client(base_url=address, timeout=120))
        report = bench_demo(HTTPService(client), collection, rounds=rounds, depth=depth)
    if json:
        print_json({"machine": machine(), **report.as_json()})
    else:
        _print(report)


class HTTPService:
    """The seam of ``eval.bench.demo.Service`` over a real socket."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def post(self, path: str, body: Mapping[str, object]) -> Mapping[str, Any]:
        response = self._client.post(path, json=dict(body))
        if response.status_code >= 400:
            fail(f"{path} answered {response.status_code}: {response.text[:300]}")
        answer: Mapping[str, Any] = response.json()
        return answer

    def stream(self, path: str, body: Mapping[str, object]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        with self._client.stream("POST", path, json=dict(body), headers={"Accept": "text/event-stream"}) as response:
            if response.status_code >= 400:
                fail(f"{path} answered {response.status_code}: {response.read().decode()[:300]}")
            name = "message"
            for line in response.iter_lines():
                if line.startswith("event:"):
                    name = line.removeprefix("event:").strip()
                elif line.startswith("data:"):
                    yield name, json_module.loads(line.removeprefix("data:"))


def machine() -> str:
    """Processor and core count, as BENCHMARKS.md names a machine."""
    import os

    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


@contextlib.contextmanager
def _started(home: Path, config: Path | None) -> Iterator[str]:
    """A service of our own on a free port, with an empty cache, ended on leaving."""
    import httpx

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "services.cli", "up", "--home", str(home), "--port", str(port)]
    server = subprocess.Popen(command + (["--config", str(config)] if config else []), stdout=subprocess.DEVNULL)
    try:
        note(f"starting a service on {address}")
        deadline = time.monotonic() + START_S
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{address}/readyz", timeout=5).status_code == 200:
                    break
            if server.poll() is not None or time.monotonic() > deadline:
                raise Unavailable(
                    "the service did not get ready; `riddle doctor` says what is missing", stage="gateway"
                )
            time.sleep(0.2)
        yield address
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            raise RiddleError("the service did not stop within 30 s of SIGTERM") from None


def _print(report: DemoReport) -> None:
    say(f"{machine()} · {report.generation} · {report.queries} questions\n")
    for latency in report.latencies:
        met = "met" if latency.p50 < latency.target_ms else "MISSED"
        times = f"p50 {latency.p50:8.1f} ms   p95 {latency.p95:8.1f} ms   target {latency.target_ms:5.0f}"
        say(f"{latency.what:<56} {times}  {met}")
    say()
    for stage, metrics in report.quality.items():
        say(f"{stage:<10}" + "   ".join(f"{name} {value:.3f}" for name, value in metrics.items()))
