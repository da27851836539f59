"""What services/models.toml says: the models that Riddle knows by name."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Sequence
from pathlib import Path

from services.model_sources import Entry, ModelFile

ADAPTERS = Path(__file__).with_name("adapters")
"""Changes to other models that come with Riddle, each in a folder of its model's name."""


@functools.cache
def registry() -> tuple[Entry, ...]:
    """The models of services/models.toml, in its order."""
    return parsed(Path(__file__).with_name("models.toml").read_text(encoding="utf-8"))


def parsed(text: str) -> tuple[Entry, ...]:
    """The models of a file in the form of services/models.toml."""
    said = tomllib.loads(text)
    return tuple(
        Entry(
            **{
                "dimension": None,
                **each,
                "aliases": tuple(each.get("aliases", ())),
                "languages": tuple(each["languages"]),
                "files": tuple(ModelFile(**file) for file in each["files"]),
            }
        )
        for each in said["model"]
    )


def listed(name: str, entries: Sequence[Entry] | None = None) -> Entry | None:
    """The registry's entry of that name, hub id or alias, whatever its case; None when it is not listed."""
    wanted = name.lower()
    for entry in registry() if entries is None else entries:
        if wanted in (
            entry.name,
            entry.hub.lower(),
            entry.hub.rpartition("/")[2].lower(),
            *map(str.lower, entry.aliases),
        ):
            return entry
    return None
