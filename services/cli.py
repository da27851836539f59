"""The `riddle` command: gathers the commands, and turns what goes wrong into one line and an exit code."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Sequence

import typer

from retrieval.errors import RiddleError
from services import commands
from services.commands.common import note, one_line

ORDER = (
    "up",
    "build",
    "search",
    "collections",
    "keys",
    "models",
    "config",
    "doctor",
    "demo",
    "serve",
    "bench",
    "tune",
    "eval",
)
"""The order of the modules of `services.commands` in the help; others follow by name."""


def build_app() -> typer.Typer:
    """The whole command line. Every module of `services.commands` with a ``register`` adds its commands."""
    app = typer.Typer(
        name="riddle",
        help="Search your documents and get answers that quote them.\n\nExample: riddle build docs --collection docs",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    present = {module.name for module in pkgutil.iter_modules(commands.__path__)} - {"common"}
    for name in sorted(present, key=lambda each: (ORDER.index(each) if each in ORDER else len(ORDER), each)):
        module = importlib.import_module(f"services.commands.{name}")
        module.register(app)
    return app


def _root() -> None:
    """Search your documents and get answers that quote them."""


def run(arguments: Sequence[str]) -> int:
    """Carry out one command line and return its exit code.

    0 for success, 1 for a failure with one line on stderr, 2 for wrong usage, 130 when interrupted.
    With ``--debug`` among the arguments a failure shows its traceback instead.
    """
    command = typer.main.get_command(build_app())
    try:
        command.main(args=list(arguments), prog_name="riddle")
    except SystemExit as finished:
        return finished.code if isinstance(finished.code, int) else 0
    except Exception as error:  # the outermost frame: one line for people, the rest with --debug
        if "--debug" in arguments:
            raise
        hint = "" if isinstance(error, RiddleError) else " (more with --debug)"
        note(f"riddle: {one_line(error)}{hint}")
        return 1
    return 0


def main() -> None:
    """Entry point of the installed command."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
