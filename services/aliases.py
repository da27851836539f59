"""When a name may become an alias: never so that a collection of that name could not be reached any more."""

from __future__ import annotations

from retrieval.errors import Conflict
from retrieval.store import CollectionStore


def lead(store: CollectionStore, alias: str, collection: str) -> None:
    """Let ``alias`` stand for ``collection``, which may be an alias itself. Raises Conflict, CollectionNotFound."""
    if alias in store.names() and alias not in store.aliases():
        raise Conflict(f"{alias} is the name of a collection, which an alias would hide: choose another")
    store.set_alias(alias, store.open(collection).name)
