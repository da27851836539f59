"""What every command shares: its common options, how it loads settings, and how it prints and fails."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from retrieval.errors import RiddleError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.settings import Loaded, Settings

Home = Annotated[
    Path | None,
    typer.Option("--home", help="Folder of collections and models (RIDDLE_HOME).", show_default=False, metavar="DIR"),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config", help="Settings file (RIDDLE_CONFIG; riddle.toml in the home).", show_default=False, metavar="FILE"
    ),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback when something fails.")]
Format = Annotated[
    str, typer.Option("--format", help="Read .txt files and texts in rows as: plain, markdown, rst, html.")
]
Mapped = Annotated[
    str, typer.Option("--map", help="Fields of JSONL, CSV and Parquet rows: text=body,title=name,id=key.")
]
Access = Annotated[
    list[str] | None,
    typer.Option(
        "--acl",
        metavar="PATTERN=PRINCIPAL,…",
        help="Who may see files or pages whose path or address matches, such as 'hr/*=group:hr'; the first decides.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on one line instead of text.")]


def load_settings(home: Path | None, config: Path | None, flags: Mapping[str, object] | None = None) -> Settings:
    """The settings in force for a command. Raises SettingsError.

    ``flags`` maps dotted keys to what the command line gave, such as ``{"server.port": port}``, None
    where it gave nothing.
    """
    return load_all(home, config, flags).settings


def load_all(home: Path | None, config: Path | None, flags: Mapping[str, object] | None = None) -> Loaded:
    """The same, with the origin of each value."""
    from services.settings import environment, keep_to_ourselves, load

    keep_to_ourselves()
    return load(config, environment(), {"home": home, **(flags or {})})


def print_json(value: Any) -> None:
    """Print one line of JSON on stdout, Chinese as it is."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def say(text: str = "") -> None:
    """Print a line for people on stdout."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """Print a line on stderr: progress and remarks, so that stdout holds only what was asked for."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def one_line(error: BaseException) -> str:
    """What is wrong, on one line: the detail of our own errors, file and reason, or kind and text of the others."""
    if isinstance(error, RiddleError):
        text = error.detail
    elif isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    else:
        text = f"{type(error).__name__}: {error}"
    return " ".join(text.split())


def fail(error: RiddleError | str) -> NoReturn:
    """End the command with exit code 1 and one line on stderr. Raising the RiddleError does the same."""
    note(f"riddle: {error if isinstance(error, str) else one_line(error)}")
    raise typer.Exit(1)
