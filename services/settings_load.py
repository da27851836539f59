"""How a tree of frozen dataclasses is filled from a TOML file, variables and flags, and who set which value."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
import math
import textwrap
import tomllib
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from retrieval.errors import SettingsError

T = TypeVar("T")

PREFIX = "RIDDLE_"


@dataclass(frozen=True, slots=True)
class Known:
    """One setting that exists: ``key`` is dotted, ``env`` its variable names, the full one first."""

    key: str
    type: Any
    default: object
    env: tuple[str, ...]
    secret: bool


def known_settings(root: type, aliases: Mapping[str, str]) -> dict[str, Known]:
    """Every leaf of ``root`` by dotted key, in order of declaration.

    ``aliases`` maps short variable names to keys. A field declared ``repr=False`` is a secret.
    """
    found: dict[str, Known] = {}
    for key, field, kind, _ in _leaves(root, ""):
        full = PREFIX + key.upper().replace(".", "_")
        short = tuple(name for name, target in aliases.items() if target == key)
        found[key] = Known(key, kind, _default(field), (full, *short), not field.repr)
    return found


def descriptions(root: type) -> dict[str, str]:
    """What each setting is for, by dotted key: the string under the field in the source, on one line."""
    notes: dict[type, dict[str, str]] = {}
    found: dict[str, str] = {}
    for key, field, _, owner in _leaves(root, ""):
        if owner not in notes:
            notes[owner] = field_notes(owner)
        found[key] = notes[owner].get(field.name, "")
    return found


def _leaves(cls: type, prefix: str) -> Iterator[tuple[str, dataclasses.Field[Any], Any, type]]:
    hints = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        kind = hints[field.name]
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            yield from _leaves(kind, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, field, kind, cls


def _default(field: dataclasses.Field[Any]) -> object:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    if field.default is dataclasses.MISSING:
        raise TypeError(f"the setting {field.name} has no default")
    return field.default


def field_notes(cls: type) -> dict[str, str]:
    """The string literal under each field of ``cls``, on one line; fields without one are left out."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(tree, ast.ClassDef)
    notes: dict[str, str] = {}
    for this, after in zip(tree.body, tree.body[1:], strict=False):
        if (
            isinstance(this, ast.AnnAssign)
            and isinstance(this.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        ):
            notes[this.target.id] = " ".join(after.value.value.split())
    return notes


@dataclass(frozen=True, slots=True)
class Given:
    """A value that somebody set, already of its type, and where: ``file:line``, a variable, or a flag."""

    value: object
    origin: str


def from_file(path: Path, known: Mapping[str, Known]) -> dict[str, Given]:
    """Read a TOML file. Raises SettingsError for bad TOML and for an unknown or ill-typed key."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read the settings file {path}: {error}") from error
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from error
    lines = _key_lines(text)
    given: dict[str, Given] = {}

    def walk(table: Mapping[str, object], prefix: str) -> None:
        for name, value in table.items():
            key = prefix + name
            line = lines.get(key)
            origin = f"{path}:{line}" if line else str(path)
            if key in known:
                given[key] = Given(_typed(key, value, known[key].type, origin, path.parent), origin)
            elif any(each.startswith(key + ".") for each in known):
                if not isinstance(value, dict):
                    raise SettingsError(f"{key} in {origin} is a section with settings of its own, not a value")
                walk(value, key + ".")
            elif isinstance(value, dict) and value:
                walk(value, key + ".")
            else:
                raise SettingsError(
                    f"unknown setting {key} in {origin}; the nearest known one is {nearest(key, known)}"
                )

    walk(tree, "")
    return given


def _key_lines(text: str) -> dict[str, int]:
    """The line of each ``key =``, by dotted key. tomllib keeps no positions; keys that this cannot place are absent."""
    lines: dict[str, int] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        if bare.startswith("["):
            section = bare.split("#")[0].strip().strip("[]").replace(" ", "").replace('"', "")
            continue
        name, equals, _ = bare.partition("=")
        if equals and not bare.startswith("#"):
            name = name.strip().replace(" ", "").replace('"', "")
            lines.setdefault(f"{section}.{name}" if section else name, number)
    return lines


def from_environment(environ: Mapping[str, str], known: Mapping[str, Known], others: Iterable[str]) -> dict[str, Given]:
    """Read the ``RIDDLE_…`` variables. ``others`` are names under that prefix that are no settings.

    Raises SettingsError for an unknown or ill-typed one, and for two names of one setting that disagree.
    """
    by_name = {name: setting for setting in known.values() for name in setting.env}
    allowed = set(others)
    given: dict[str, Given] = {}
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in allowed:
            continue
        if name not in by_name:
            best = max(sorted(by_name), key=lambda each: difflib.SequenceMatcher(None, name, each).ratio())
            raise SettingsError(f"unknown environment variable {name}; the nearest known one is {best}")
        setting = by_name[name]
        value = parsed(setting.key, environ[name], setting.type, name)
        before = given.get(setting.key)
        if before is not None and before.value != value:
            raise SettingsError(f"{before.origin} and {name} both set {setting.key}, to different values; unset one")
        given[setting.key] = Given(value, name)
    return given


def from_flags(flags: Mapping[str, object], known: Mapping[str, Known]) -> dict[str, Given]:
    """Values from the command line, by dotted key; None means that the flag was not given."""
    unknown = next((key for key in flags if key not in known), None)
    if unknown is not None:
        raise SettingsError(f"unknown setting {unknown}; the nearest known one is {nearest(unknown, known)}")
    origin = "command line"
    return {
        key: Given(
            _typed(key, str(value) if isinstance(value, Path) else value, known[key].type, origin, Path()), origin
        )
        for key, value in flags.items()
        if value is not None
    }


def nearest(key: str, known: Iterable[str]) -> str:
    """The known key most like ``key``, as a whole or by its last part, so that a missing section is found too."""

    def likeness(other: str) -> float:
        whole = difflib.SequenceMatcher(None, key, other).ratio()
        last = difflib.SequenceMatcher(None, key.rpartition(".")[2], other.rpartition(".")[2]).ratio()
        return max(whole, 0.95 * last)

    return max(sorted(known), key=likeness)


def build(root: type[T], given: Mapping[str, Given]) -> T:
    """Make ``root`` from its defaults and ``given``. A value that a section refuses is a SettingsError."""

    def make(cls: type, prefix: str) -> Any:
        hints = get_type_hints(cls)
        values: dict[str, object] = {}
        for field in dataclasses.fields(cls):
            key = prefix + field.name
            kind = hints[field.name]
            if isinstance(kind, type) and dataclasses.is_dataclass(kind):
                values[field.name] = make(kind, key + ".")
            elif key in given:
                values[field.name] = given[key].value
        try:
            return cls(**values)
        except (ValueError, TypeError) as error:
            mine = [f"{prefix}{name} from {given[prefix + name].origin}" for name in values if prefix + name in given]
            raise SettingsError(f"{error} ({', '.join(mine)})") from error

    made = make(root, "")
    assert isinstance(made, root)
    return made


def _plain(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """The origin and the arguments of a type; ``X | None`` counts as ``X``."""
    if get_origin(kind) in (Union, types.UnionType):
        rest = [each for each in get_args(kind) if each is not type(None)]
        return _plain(rest[0])
    return get_origin(kind) or kind, get_args(kind)


def type_name(kind: Any) -> str:
    """What people call a setting's type."""
    origin, args = _plain(kind)
    if origin is Literal:
        return "one of " + ", ".join(str(each) for each in args)
    names = {bool: "true or false", int: "an integer", float: "a number", str: "text", Path: "a path"}
    if origin is tuple:
        return "a list of text"
    if origin in names:
        return names[origin]
    return "a table of numbers"


def _wrong(key: str, value: object, kind: Any, origin: str) -> SettingsError:
    return SettingsError(f"{key} from {origin} must be {type_name(kind)}, not {value!r}")


def _typed(key: str, value: object, kind: Any, origin: str, base: Path) -> object:
    """Check a value that already has a type, from TOML or a flag; paths are relative to ``base``."""
    plain, args = _plain(kind)
    if plain is Literal and value in args and type(value) is not bool:
        return value
    if plain is Path and isinstance(value, str) and value:
        return (base / Path(value).expanduser()).absolute()
    if plain is float and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if plain in (int, str, bool) and type(value) is plain:
        return value
    if plain is tuple and isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
        return tuple(value)
    if isinstance(value, Mapping) and typing.cast(Any, plain) not in (int, str, bool, float, Path, tuple, Literal):
        numbers = {str(name): each for name, each in value.items()}
        if all(isinstance(each, int | float) and not isinstance(each, bool) for each in numbers.values()):
            return {name: float(each) for name, each in numbers.items()}
    raise _wrong(key, value, kind, origin)


_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


def parsed(key: str, text: str, kind: Any, origin: str) -> object:
    """Read a value from the text of a variable: lists go by commas, tables as ``a=1,b=2``."""
    plain, args = _plain(kind)
    value: object = text
    try:
        if plain is bool:
            folded = text.strip().lower()
            value = folded in _TRUE if folded in _TRUE | _FALSE else text
        elif plain is int:
            value = int(text)
        elif plain is float:
            value = float(text)
        elif plain is tuple:
            value = [part.strip() for part in text.split(",") if part.strip()]
        elif plain is Literal:
            value = next((each for each in args if str(each) == text), text)
        elif plain not in (str, Path):
            pairs = [part.partition("=") for part in text.split(",") if part.strip()]
            value = {name.strip(): float(number) for name, _, number in pairs}
    except ValueError as error:
        raise _wrong(key, text, kind, origin) from error
    return _typed(key, value, kind, origin, Path())
