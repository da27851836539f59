"""`riddle up`: the whole service in one process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from services.commands.common import Config, Debug, Home, load_settings, note, say

if TYPE_CHECKING:
    from services.settings import Settings

Port = Annotated[
    int | None,
    typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 takes a free one (RIDDLE_PORT)."),
]
Host = Annotated[str | None, typer.Option("--host", help="Address to listen on (RIDDLE_HOST).", show_default=False)]


def register(app: typer.Typer) -> None:
    app.command()(up)


def up(
    home: Home = None,
    port: Port = None,
    host: Host = None,
    config: Config = None,
    log: Annotated[bool, typer.Option("--log", help="Write a line for each request on stderr.")] = False,
    debug: Debug = False,
) -> None:
    """Start search, ranking, answers and the page in one process, and say when they are ready.

    Other services that the settings name are left alone. SIGTERM lets running requests finish.

    Example: riddle up --home .riddle --port 8080
    """
    flags = {"server.port": port, "server.host": host, "services.recall_url": "", "services.rank_url": ""}
    settings = load_settings(home, config, {**flags, "services.embed_url": ""})
    serve("gateway", settings, log_requests=log)


def serve(name: str, settings: Settings, *, log_requests: bool) -> None:
    """Run one of the applications until it is told to end.

    Raises Conflict when the port is taken, SettingsError when other machines could reach a gateway without keys.
    """
    import logging

    from services.auth import check_exposure, is_loopback
    from services.keys import key_ring
    from services.server import address_of, listen, log_to_stderr, run

    if name == "gateway":
        check_exposure(settings.server.host, key_ring(settings.home))
    elif not is_loopback(settings.server.host) and not settings.services.token:
        note(f"riddle {name}: believes whoever reaches it: keep its network closed, or set RIDDLE_SERVICES_TOKEN")
    listening = listen(settings.server.host, settings.server.port)
    address = address_of(listening)
    log_to_stderr(logging.INFO if log_requests else logging.WARNING)
    what = "riddle" if name == "gateway" else f"riddle {name}"
    say(f"{what} listens on {address}; its models load")

    from services.bootstrap import APPS

    def told(line: str) -> None:
        if line == "ready":
            say(f"{what} is ready: {address}")
        else:
            note(f"{what}: {line}")

    run(APPS[name](settings, told), listening, settings.server.drain_s)
    say(f"{what} has stopped")
