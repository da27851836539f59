"""`riddle doctor`: looks at everything that Riddle leans on here, and says how to mend what is wrong."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from services.commands.common import Config, Debug, Home, Json, load_all, one_line, print_json, say

if TYPE_CHECKING:
    from services.settings import Settings

State = Literal["ok", "warn", "fail"]

NATIVE = ("numpy", "pyarrow", "tantivy", "hnswlib", "onnxruntime", "tokenizers")
"""Libraries without which nothing can be built or searched."""

TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. ``warn`` is a part that Riddle can do without; ``mend`` says what to do about it."""

    name: str
    state: State
    detail: str
    mend: str = ""


def register(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(home: Home = None, config: Config = None, json: Json = False, debug: Debug = False) -> None:
    """Check Python, disk, models, ports and servers, and say how to mend each; exit 1 if something needed is wrong.

    Example: riddle doctor --home ./here
    """
    loaded = load_all(home, config)
    found = [Check("settings", "ok", f"read from {loaded.file}" if loaded.file else "defaults and variables")]
    found.extend(examine(loaded.settings))
    if json:
        print_json({"ok": all(check.state != "fail" for check in found), "checks": [asdict(each) for each in found]})
    else:
        width = max(len(check.name) for check in found)
        for check in found:
            say(f"{check.state:<4}  {check.name:<{width}}  {check.detail}")
            if check.mend:
                say(f"{'':<4}  {'':<{width}}  -> {check.mend}")
    if any(check.state == "fail" for check in found):
        raise typer.Exit(1)


def examine(settings: Settings) -> Iterator[Check]:
    """Every check, in the order in which a failure explains the next."""
    yield _python()
    yield _libraries()
    yield from _home(settings.home)
    yield from _models(settings)
    yield from _runtime(settings.models.runtime)
    yield _collections(settings)
    yield _port(settings.server.host, settings.server.port)
    yield _redis(settings.cache.redis_url)
    yield _generation(settings)
    services: tuple[tuple[str, str, State], ...] = (
        ("recall service", settings.services.recall_url, "fail"),
        ("rank service", settings.services.rank_url, "warn"),
        ("embed service", settings.services.embed_url, "fail"),
    )
    yield from (_service(name, url, state) for name, url, state in services if url)


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check("python", "ok", f"{version} at {sys.executable}")


def _libraries() -> Check:
    missing = [name for name in NATIVE if importlib.util.find_spec(name) is None]
    if missing:
        return Check("libraries", "fail", f"not installed: {', '.join(missing)}", "run make install")
    return Check("libraries", "ok", ", ".join(NATIVE))


def _home(home: Path) -> Iterator[Check]:
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    mend = f"make {there} writable for this user, or choose another folder with --home or RIDDLE_HOME"
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
        yield Check("home", "ok", f"{home}" if there == home else f"{home} will be made")
    except OSError as error:
        yield Check("home", "fail", one_line(error), mend)
        return
    free = shutil.disk_usage(there).free / 1e9
    state: State = "fail" if free < 0.5 else "warn" if free < 3 else "ok"
    advice = "" if state == "ok" else "free some space: the default models take 0.3 GB, a million passages some 4 GB"
    yield Check("disk", state, f"{free:.1f} GB free", advice)


def _models(settings: Settings) -> Iterator[Check]:
    chosen, elsewhere = settings.models, settings.services
    yield _encoder(settings) if not elsewhere.embed_url else Check("encoder", "ok", f"asked of {elsewhere.embed_url}")
    if settings.build.late:
        yield _model("late", settings.build.late, settings.home, "warn")
    if elsewhere.rank_url:
        yield Check("reranker", "ok", f"asked of {elsewhere.rank_url}")
    else:
        yield _model("reranker", chosen.reranker, settings.home, "warn")
    if settings.generation.url:
        yield Check("generator", "ok", f"asked of {settings.generation.url}")
    else:
        yield _model("generator", chosen.generator, settings.home, "warn")


def _encoder(settings: Settings) -> Check:
    name = settings.models.encoder
    if name.partition(":")[0] not in ("openai", "tei"):
        # A gateway whose recall is elsewhere needs the encoder only for builds of its own.
        return _model("encoder", name, settings.home, "warn" if settings.services.recall_url else "fail")
    from retrieval.errors import RiddleError
    from services.encoders import encoder_named

    try:
        dimension = encoder_named(name, settings).encode(["riddle"], "query").shape[1]
    except RiddleError as error:
        return Check("encoder", "fail", one_line(error), "start that server, or name another encoder")
    return Check("encoder", "ok", f"{name} answers with {dimension} dimensions")


def _model(role: str, name: str, home: Path, state: State) -> Check:
    from retrieval.errors import RiddleError
    from services.models import verify

    if not name:
        return Check(role, "ok", "none wanted")
    try:
        verify(name, home)
    except (RiddleError, OSError) as error:
        return Check(role, state, one_line(error), f"riddle models pull {name} --home {home}")
    return Check(role, "ok", f"{name}, its files as they should be")


def _runtime(runtime: str) -> Iterator[Check]:
    if runtime != "native":
        return
    from retrieval._native.transformer import available

    if available():
        yield Check("runtime", "ok", "native: our own int8 kernel runs on this processor")
    else:
        mend = "set models.runtime to auto, or install on a processor with AVX-512 VNNI and with a C++ compiler"
        yield Check("runtime", "fail", "native: our own int8 kernel does not run here", mend)


def _collections(settings: Settings) -> Check:
    from retrieval.errors import RiddleError
    from retrieval.store import CollectionStore
    from services.bootstrap import collections_folder

    try:
        store = CollectionStore(collections_folder(settings.home))
        names = [*store.names(), *store.aliases()]
    except (RiddleError, OSError) as error:
        return Check("collections", "fail", one_line(error), "build the collection again, with --replace")
    if not names:
        return Check("collections", "warn", "none yet", "riddle build SOURCE --collection NAME, or riddle demo")
    if settings.default_collection not in names:
        mend = "name one in each request, or set RIDDLE_DEFAULT_COLLECTION"
        return Check(
            "collections", "warn", f"{', '.join(names)}; no default {settings.default_collection!r} among them", mend
        )
    return Check("collections", "ok", ", ".join(names))


def _port(host: str, port: int) -> Check:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        with contextlib.suppress(OSError):
            if _get(f"http://{host}:{port}/livez") == 200:
                return Check("port", "ok", f"{host}:{port} is in use, by a Riddle that is alive")
        mend = "stop what listens there, or choose another port with --port or RIDDLE_PORT"
        return Check("port", "fail", f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}", mend)
    return Check("port", "ok", f"{host}:{port} is free")


def _redis(url: str) -> Check:
    if not url:
        return Check("redis", "ok", "not set: results are cached in the process")
    import redis

    try:
        client = redis.Redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)
        with contextlib.closing(client):
            client.ping()
    except (redis.RedisError, ValueError, OSError) as error:
        mend = "start it, or unset RIDDLE_REDIS_URL; until then every search is a cache miss"
        return Check("redis", "warn", f"no answer: {one_line(error)}", mend)
    return Check("redis", "ok", "answers")


def _generation(settings: Settings) -> Check:
    url = settings.generation.url
    if not url:
        return Check("generation", "ok", "not set: answers are written in the process, or quoted")
    key = settings.generation.api_key
    try:
        status = _get(url.rstrip("/") + "/models", {"Authorization": f"Bearer {key}"} if key else {})
    except OSError as error:
        mend = "start it (make vllm), or unset RIDDLE_GENERATION_URL; until then answers are quotations"
        return Check("generation", "warn", f"{url} does not answer: {one_line(error)}", mend)
    if status != 200:
        mend = "check RIDDLE_GENERATION_URL (up to and with /v1) and RIDDLE_GENERATION_API_KEY"
        return Check("generation", "warn", f"{url}/models answers {status}", mend)
    return Check("generation", "ok", f"{url} answers")


def _service(name: str, url: str, state: State) -> Check:
    mend = f"start it with riddle serve {name.split()[0]}, or unset its address"
    try:
        status = _get(url.rstrip("/") + "/readyz")
    except OSError as error:
        return Check(name, state, f"{url} does not answer: {one_line(error)}", mend)
    if status != 200:
        return Check(name, state, f"{url} is not ready ({status})", f"its own log and {url}/readyz say why")
    return Check(name, "ok", f"{url} is ready")


def _get(url: str, headers: dict[str, str] | None = None) -> int:
    """The status of a GET. Raises OSError when nothing answers within the time limit."""
    import httpx

    try:
        return httpx.get(url, headers=headers, timeout=TIMEOUT_S, trust_env=False).status_code
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise OSError(None, str(error) or type(error).__name__) from error
