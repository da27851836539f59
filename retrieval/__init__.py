"""Recall: collections of passages on disk, searched by words, by meaning, and by what is known of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retrieval.library import Collection, Hit
    from retrieval.manifest import CollectionSettings
    from retrieval.types import Chunk, Document

__all__ = ["Chunk", "Collection", "CollectionSettings", "Document", "Hit"]

_HOMES = {
    "Chunk": "retrieval.types",
    "Collection": "retrieval.library",
    "CollectionSettings": "retrieval.manifest",
    "Document": "retrieval.types",
    "Hit": "retrieval.library",
}


def __getattr__(name: str) -> Any:
    """Names are looked up when they are first used, so that importing the package loads nothing heavy."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
