"""`riddle bench`: measure a service on this machine and say how it stands against its targets."""

from __future__ import annotations

import contextlib
import json as json_module
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.commands.common import Config, Debug, Home, Json, fail, load_settings, print_json, say

if TYPE_CHECKING:
    import httpx

    from eval.bench.demo import DemoReport


def register(app: typer.Typer) -> None:
    bench = typer.Typer(no_args_is_help=True, help="Measure speed and quality on this machine.")
    bench.callback()(_root)
    bench.command()(demo)
    app.add_typer(bench, name="bench")


def bench_of(app: typer.Typer) -> typer.Typer:
    """The group that other modules add their benches to; this one is registered before them."""
    return next(
        group.typer_instance for group in app.registered_groups if group.name == "bench" and group.typer_instance
    )


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
    from services.trial import MEASURING, started

    settings = load_settings(home, config)
    with contextlib.ExitStack() as stack:
        address = url or stack.enter_context(started(settings.home, config)).address
        client = stack.enter_context(httpx.Client(base_url=address, timeout=120, headers=MEASURING))
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


def _print(report: DemoReport) -> None:
    say(f"{machine()} · {report.generation} · {report.queries} questions\n")
    for latency in report.latencies:
        met = "met" if latency.p50 < latency.target_ms else "MISSED"
        times = f"p50 {latency.p50:8.1f} ms   p95 {latency.p95:8.1f} ms   target {latency.target_ms:5.0f}"
        say(f"{latency.what:<56} {times}  {met}")
    say()
    for stage, metrics in report.quality.items():
        say(f"{stage:<10}" + "   ".join(f"{name} {value:.3f}" for name, value in metrics.items()))
