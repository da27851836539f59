"""`riddle dashboard`: runs, questions and users in a browser, drawn by Streamlit in a process of its own."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from retrieval.errors import Unavailable
from services.commands.common import Config, Debug, Home, load_settings, say

START_S = 120.0
"""How long Streamlit may take until it answers."""
STOP_S = 10.0
"""How long it may take to end."""

HOST = "127.0.0.1"

NAMES = (HOST, "localhost")
"""What a browser may call this machine; a page elsewhere whose name was made to lead here is not let in."""

FLAGS: Mapping[str, str] = {
    "server.address": HOST,
    "server.headless": "true",
    "server.showEmailPrompt": "false",
    "server.fileWatcherType": "none",
    "server.runOnSave": "false",
    "browser.gatherUsageStats": "false",
    "browser.serverAddress": HOST,
    "client.toolbarMode": "viewer",
    "client.showErrorLinks": "false",
    "global.developmentMode": "false",
    "runner.magicEnabled": "false",
    "logger.level": "warning",
    "theme.light.primaryColor": "#0072B2",
    "theme.dark.primaryColor": "#56B4E9",
}


def register(app: typer.Typer) -> None:
    app.command()(dashboard)


def dashboard(
    runs: Annotated[Path, typer.Option("--runs", help="Folder of run folders, or one of them.", metavar="DIR")] = Path(
        "runs"
    ),
    home: Home = None,
    url: Annotated[str, typer.Option("--url", help="A running service to watch, such as http://127.0.0.1:8080.")] = "",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen on.")] = 8501,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Open no browser.")] = False,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Look at runs, questions and users in a browser; ends with SIGTERM or Ctrl-C.

    Runs are read from --runs, what users did from the home folder, a service's metrics from --url. Only this machine
    reaches it: there is no password. Needs pip install 'riddle-search[dashboard]'.

    Example: riddle dashboard --runs runs --home .riddle --url http://127.0.0.1:8080
    """
    check_installed()
    from services.server import listen

    settings = load_settings(home, config)
    listen(HOST, port).close()  # else what has the port already would be taken for the dashboard
    arguments = ["--runs", str(runs.resolve()), "--home", str(settings.home.resolve()), "--url", url]
    address = f"http://{HOST}:{port}"
    with _running(port, arguments) as child:
        if _answers(child, address):
            say(f"riddle dashboard is ready: {address}")
            if not no_browser:
                _open(address)
        code = child.wait()
    if code not in (0, -signal.SIGTERM, -signal.SIGINT):
        raise Unavailable(f"the dashboard ended by itself with exit code {code}; what it said stands above")
    say("riddle dashboard has stopped")


def check_installed(find: Callable[[str], object | None] = find_spec) -> None:
    """Raises Unavailable without the libraries of the extra."""
    if any(find(name) is None for name in ("streamlit", "altair")):
        raise Unavailable("the dashboard needs Streamlit and altair: pip install 'riddle-search[dashboard]'")


def command_for(port: int, arguments: Sequence[str]) -> list[str]:
    """How Streamlit is started; its own settings files are outvoted by these flags."""
    script = Path(__file__).parents[1] / "dashboard" / "app.py"
    flags = [f"--{name}={value}" for name, value in FLAGS.items()]
    flags += [f"--server.allowedHosts={name}" for name in NAMES]
    return [sys.executable, "-m", "streamlit", "run", str(script), f"--server.port={port}", *flags, "--", *arguments]


@contextlib.contextmanager
def _running(port: int, arguments: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Streamlit with a home folder of its own, for it keeps an identifier there; it is told of SIGTERM and ends."""
    from services.settings import environment

    with tempfile.TemporaryDirectory(prefix="riddle-dashboard-") as folder:
        package = Path(__file__).parents[2]
        paths = [str(package), *filter(None, [environment().get("PYTHONPATH")])]
        environ = {**environment(), "HOME": folder, "USERPROFILE": folder, "PYTHONPATH": ":".join(paths)}
        child = subprocess.Popen(command_for(port, arguments), env=environ, stdout=subprocess.DEVNULL, cwd=folder)

        def told(number: int, frame: FrameType | None) -> None:
            child.send_signal(signal.SIGTERM)

        before = {number: signal.signal(number, told) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield child
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _answers(child: subprocess.Popen[bytes], address: str) -> bool:
    """Wait until it answers; False when it ended before. Raises Unavailable when it does neither."""
    import httpx

    ends = time.monotonic() + START_S
    with httpx.Client(trust_env=False, timeout=5) as client:
        while time.monotonic() < ends:
            if child.poll() is not None:
                return False
            with contextlib.suppress(httpx.TransportError):
                if client.get(f"{address}/_stcore/health").status_code == 200:
                    return True
            time.sleep(0.1)
    raise Unavailable(f"the dashboard does not answer on {address} after {START_S:.0f} s")


def _open(address: str) -> None:
    """In the browser of the desktop, where there is one: elsewhere a browser of the terminal would take its place."""
    import webbrowser

    from services.settings import environment

    graphical = sys.platform in ("darwin", "win32") or {"DISPLAY", "WAYLAND_DISPLAY"} & environment().keys()
    if graphical:
        webbrowser.open(address)
