"""`riddle config`: which settings are in force, where each came from, and what there is to set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.commands.common import Config, Debug, Home, Json, fail, load_all, note, print_json, say


def register(app: typer.Typer) -> None:
    config = typer.Typer(no_args_is_help=True, help="Show the settings in force and what there is to set.")
    config.command()(show)
    config.command()(reference)
    app.add_typer(config, name="config")


def show(
    home: Home = None,
    config: Config = None,
    describe: Annotated[bool, typer.Option("--describe", help="Say what each setting is for.")] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Print every setting in force and where its value came from; secrets are masked.

    Example: riddle config show --describe
    """
    from services.settings import described, known

    loaded = load_all(home, config)
    values = loaded.shown()
    notes = described() if describe else {}
    if json:
        rows = {key: {"value": value, "from": loaded.origins[key]} for key, value in values.items()}
        for key, text in notes.items():
            rows[key] |= {"description": text, "environment": known()[key].env[-1]}
        print_json(rows)
        return
    width = max(len(key) for key in values)
    for key, value in values.items():
        say(f"{key:<{width}}  {_shown(value)}  ({loaded.origins[key]})")
        if notes.get(key):
            say(f"{'':<{width}}  {notes[key]}")
    say(f"\nsettings file: {loaded.file or 'none'}")


def reference(
    write: Annotated[
        Path | None,
        typer.Option("--write", help="Put the table between this file's markers instead.", metavar="FILE"),
    ] = None,
    debug: Debug = False,
) -> None:
    """Print the table of settings as Markdown, or write it between the settings markers of a file.

    Example: riddle config reference --write README.md
    """
    table = settings_table()
    if write is None:
        say(table)
        return
    text = write.read_text(encoding="utf-8")
    begin, end = "<!-- settings -->", "<!-- /settings -->"
    if begin not in text or end not in text:
        fail(f"{write} has no lines {begin} and {end} to put the table between; add them")
    head, rest = text.split(begin, 1)
    tail = rest.split(end, 1)[1]
    write.write_text(f"{head}{begin}\n{table}\n{end}{tail}", encoding="utf-8")
    note(f"wrote the settings into {write}")


def settings_table() -> str:
    """One Markdown row a setting: key, variable, default, what it is for."""
    from services.settings import described, known

    notes = described()
    rows = ["| setting | variable | default | what it is for |", "|---|---|---|---|"]
    for key, setting in known().items():
        default = "the user's data folder" if key == "home" else f"`{_shown(setting.default)}`"
        note_text = notes[key].replace("|", "\\|")
        rows.append(f"| `{key}` | `{setting.env[-1]}` | {default} | {note_text} |")
    return "\n".join(rows)


def _shown(value: object) -> str:
    """A value as TOML would have it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_shown(each) for each in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_shown(each)}" for name, each in value.items()) + " }"
    return str(value)
