"""A query in other words, or a passage that could answer it, written by a chat model for the encoder to read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import aclosing
from typing import Final, Literal

from generation.engine import ChatModel, Message
from generation.events import Usage
from retrieval.errors import GenerationFailed

How = Literal["rewrite", "hyde"]

VERSION: Final = "1"
"""Changes with the prompts: part of every key under which a reply is kept."""
MOST_CHARS: Final[Mapping[How, int]] = {"rewrite": 300, "hyde": 1500}
"""What is kept of a reply; more is not waited for."""

_SYSTEM: Final[Mapping[How, str]] = {
    "rewrite": (
        "You rewrite search queries. Reply with one line: the query in other words, with abbreviations written out and "
        "the terms that a document about it would use, in the language of the query. Do not answer it, do not explain."
    ),
    "hyde": (
        "Write a short passage, three or four sentences, as it could stand in a document that answers the query, in "
        "the language of the query. Only the passage: no introduction, no comment."
    ),
}
_QUERY: Final = "Query: {}"
_LABEL: Final = re.compile(r"^\s*(?:(?:rewritten )?query|passage)\s*:\s*", re.IGNORECASE)


async def reworded(model: ChatModel, query: str, how: How) -> str:
    """What ``model`` writes of ``query``: one line, or a passage (HyDE: Gao et al., ACL 2023).

    It is meant for an encoder and an index, and is never shown: whatever the query told the model to say changes what
    its own search finds, and nothing else. Raises GenerationFailed for an empty reply, and what the model raises.
    """
    messages = [Message("system", _SYSTEM[how]), Message("user", _QUERY.format(query))]
    text = ""
    async with aclosing(model.stream(messages)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Usage):
                continue
            text += piece
            if len(text) > MOST_CHARS[how] or (how == "rewrite" and "\n" in text.strip()):
                break
    kept = _LABEL.sub("", text.strip())
    kept = kept.splitlines()[0].strip().strip('"“”') if how == "rewrite" and kept else kept
    kept = " ".join(kept[: MOST_CHARS[how]].split())
    if not any(map(str.isalnum, kept)):
        raise GenerationFailed("the generation server wrote nothing of use", stage="rewrite")
    return kept
