"""`riddle keys`: who may search, see what, and write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from services.commands.common import Config, Debug, Home, Json, load_settings, note, print_json, say

if TYPE_CHECKING:
    from services.keys import Key, KeyRing


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys.")
    group.callback()(_root)
    group.command()(create)
    group.command("list")(list_)
    group.command()(revoke)
    app.add_typer(group, name="keys")


def _root() -> None:
    """Make, list and revoke API keys.

    From the first key on, everything under /v1 needs one, and a server that runs asks for it at once.

    Example: riddle keys create --principals group:eng
    """


def create(
    principals: Annotated[
        str,
        typer.Option(
            "--principals",
            "-p",
            help="What its holder is, separated by commas: it sees documents whose access list names one of "
            "these, beside those that are everybody's.",
        ),
    ] = "",
    write: Annotated[
        bool,
        typer.Option(
            "--write", help="It may also change collections: replace and delete any document, whoever may see it."
        ),
    ] = False,
    label: Annotated[str, typer.Option("--label", help="A note of what it is for.")] = "",
    home: Home = None,
    config: Config = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Make a key and print it; only its hash is kept, so this is the one time that it is shown.

    Example: riddle keys create --principals group:eng,user:ada --write
    """
    named = [each.strip() for each in principals.split(",") if each.strip()]
    key, token = _ring(home, config).create(named, write=write, label=label)
    if json:
        print_json({"key": token, **_shown(key)})
        return
    say(token)
    note(f"{_described(key)}; it will not be shown again. Send it as `Authorization: Bearer KEY`.")


def list_(home: Home = None, config: Config = None, json: Json = False, debug: Debug = False) -> None:
    """List the keys: ids, what their holders are, and whether they may write.

    Example: riddle keys list --home .riddle
    """
    ring = _ring(home, config)
    keys = ring.keys()
    if json:
        print_json({"keys": [_shown(key) for key in keys]})
        return
    for key in keys:
        say(f"{_described(key)}  {key.created}  {key.label}".rstrip())
    if not keys and ring.exists:
        say("no key is in force, so nobody is let in: riddle keys create")
    elif not keys:
        say("no keys: everybody on this machine may search and write, and nobody else; riddle keys create")


def revoke(
    key_id: Annotated[str, typer.Argument(help="Id of the key, as `riddle keys list` shows it.", metavar="ID")],
    home: Home = None,
    config: Config = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Take a key out of force, at once.

    Example: riddle keys revoke 3f9c01ab
    """
    ring = _ring(home, config)
    key = ring.revoke(key_id)
    if json:
        print_json({"revoked": key.id})
        return
    say(f"revoked {key.id}")
    if not ring.keys():
        note("that was the last one: until there is another, nobody is let in")


def _ring(home: Home, config: Config) -> KeyRing:
    from services.keys import key_ring

    folder = load_settings(home, config).home
    folder.mkdir(parents=True, exist_ok=True)
    return key_ring(folder)


def _shown(key: Key) -> dict[str, object]:
    return {
        "id": key.id,
        "principals": list(key.principals),
        "write": key.write,
        "created": key.created,
        "label": key.label,
    }


def _described(key: Key) -> str:
    return f"{key.id}  {'writes' if key.write else 'reads '}  {', '.join(key.principals) or 'public alone'}"
