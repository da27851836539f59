"""`riddle serve`: one service of the four alone, for deployments of several processes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from services.commands.common import Config, Debug, Home, load_settings
from services.commands.up import Host, Port
from services.commands.up import serve as run_service


class Service(StrEnum):
    """The services that run alone; the names of `services.bootstrap.APPS`."""

    gateway = "gateway"
    recall = "recall"
    rank = "rank"
    embed = "embed"


def register(app: typer.Typer) -> None:
    app.command()(serve)


def serve(
    service: Annotated[Service, typer.Argument(help="Which one.")],
    home: Home = None,
    port: Port = None,
    host: Host = None,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Start one service alone and write a line for each request on stderr.

    The gateway finds the others by RIDDLE_RECALL_URL and RIDDLE_RANK_URL, and recall its encoder by
    RIDDLE_EMBED_URL; what is not named they hold themselves.

    Example: riddle serve rank --port 8082
    """
    settings = load_settings(home, config, {"server.port": port, "server.host": host})
    run_service(service.value, settings, log_requests=True)
