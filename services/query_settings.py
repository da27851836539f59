"""What is done to a query before it is searched: the settings, and how a request may differ from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Spelling = Literal["off", "suggest", "on"]
Rewrite = Literal["off", "rewrite", "hyde"]


@dataclass(frozen=True, slots=True)
class QuerySettings:
    """What is done to a query before it is searched."""

    spelling: Spelling = "on"
    """Words unknown to the collection: `on` looks for the nearest known ones too and says so, `suggest` says so."""
    spelling_words: int = 10_000
    """Collections that know fewer words are left alone: most words that they lack are no slips."""
    rewrite: Rewrite = "off"
    """What the server at `generation.url` adds to a query: `rewrite` other words, `hyde` a passage like an answer."""
    rewrite_ms: float = 1500.0
    """Milliseconds that it may take, at most half of a request's budget; then the query is searched as it is."""
    rewrites: int = 8
    """How many queries it writes of at once; those beyond are searched as they are."""

    def __post_init__(self) -> None:
        if self.spelling_words < 0:
            raise ValueError(f"query.spelling_words {self.spelling_words} must not be negative")
        if self.rewrite_ms <= 0 or self.rewrites < 1:
            raise ValueError(
                f"query.rewrite_ms {self.rewrite_ms} must be above 0, query.rewrites {self.rewrites} at least 1"
            )
