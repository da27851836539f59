"""What names in the gateway's paths look like."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field

from retrieval.errors import CollectionNotFound

Name = Annotated[str, Field(min_length=1, max_length=64, examples=["docs"])]

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def possible(name: str) -> str:
    """``name``, when a collection could have it. Raises CollectionNotFound, for what cannot be one is not there."""
    if not _NAME.fullmatch(name):
        raise CollectionNotFound(f"no collection is called {name[:80]!r}")
    return name
