"""What a source must say of itself to be kept level with: what it holds, what of that changed, and who may see it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from indexing.items import Item
from indexing.sources import Rejected


@dataclass(frozen=True, slots=True)
class Listed:
    """One thing that a source holds: a file, a page. ``item`` names it, the same in every listing.

    ``fingerprint`` differs whenever the content may; empty when only fetching can tell. ``acl`` are the
    principals that may see it, empty when everybody may.
    """

    item: str
    fingerprint: str = ""
    acl: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a thing consists of now: a document, many rows, or nothing when it has gone since it was listed.

    ``entries`` is read once, have ``origin`` set to what was listed and its ``acl``. ``mark`` is what the next
    fetch will be given, such as the ETag of a page.
    """

    entries: Iterable[Item | Rejected]
    mark: str = ""


class Connector(Protocol):
    """A source. One contract suite: tests/contract/test_connectors.py."""

    @property
    def name(self) -> str:
        """What the source is called; what is known of it from the last time is kept by this name."""
        ...

    @property
    def parallel(self) -> int:
        """How many fetches may go on at once, each in a thread of its own."""
        ...

    def listed(self) -> Iterator[Listed]:
        """Everything that there is; of a thing listed twice the last counts.

        Raises Unavailable or InvalidRequest when not all can be listed: what is left out is deleted.
        """
        ...

    def fetch(self, listed: Listed, mark: str) -> Fetched | None:
        """What ``listed`` holds; None when it is as it was when ``mark`` was given out (never for an empty mark).

        Raises SourceUnreadable when nothing can be made of it, Unavailable when it cannot be had at the
        moment and what is known of it shall stay.
        """
        ...
