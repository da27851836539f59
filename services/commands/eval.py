"""`riddle eval`: the group of all commands that measure quality and speed; other modules add their commands to it."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Measure, compare and gate the quality of searches and answers.")
    group.callback()(_root)
    app.add_typer(group, name="eval")


def eval_of(app: typer.Typer) -> typer.Typer:
    """The group that the other modules of `riddle eval` add their commands to; this one is registered before them."""
    return next(
        group.typer_instance for group in app.registered_groups if group.name == "eval" and group.typer_instance
    )


def _root() -> None:
    """Measure, compare and gate the quality of searches and answers.

    Example: riddle eval run --dataset beir/scifact --out runs/scifact
    """
