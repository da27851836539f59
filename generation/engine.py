"""The seams of answering: an engine writes cited text about candidates, a chat model continues messages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from generation.events import Citation, Delta, Usage
from retrieval.types import Candidate, Language


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation, as chat models read it."""

    role: Literal["system", "user", "assistant"]
    content: str


class Engine(Protocol):
    """Writes an answer from candidates. One contract suite: tests/contract/test_engines.py."""

    @property
    def name(self) -> str: ...

    @property
    def languages(self) -> tuple[str, ...]:
        """ISO 639-1 codes it can answer in; ``("*",)`` for all."""
        ...

    def write(
        self, question: str, candidates: Sequence[Candidate], language: Language
    ) -> AsyncGenerator[Delta | Citation | Usage, None]:
        """Text, citations into the text sent so far, and at most one usage.

        Closing the generator stops the work behind it. Raises Unavailable, Overloaded, ModelMissing
        or GenerationFailed, possibly after some text.
        """
        ...

    async def ready(self) -> str:
        """``ok``, or the reason why it cannot write now."""
        ...


class ChatModel(Protocol):
    """Continues a conversation, wherever the weights are."""

    @property
    def name(self) -> str: ...

    @property
    def languages(self) -> tuple[str, ...]: ...

    @property
    def prompt_tokens(self) -> int:
        """The most tokens that a prompt should have, system text and question included."""
        ...

    def count(self, text: str) -> int:
        """Tokens of ``text``; an estimate on the high side where the tokenizer is not at hand."""
        ...

    def stream(self, messages: Sequence[Message]) -> AsyncGenerator[str | Usage, None]:
        """Pieces of the reply as they are made, never empty, and at most one usage.

        Closing the generator stops the generation. Raises Unavailable when nobody answers,
        Overloaded when the queue is full, GenerationFailed when it breaks off.
        """
        ...

    async def ready(self) -> str:
        """``ok``, or the reason why it cannot generate now."""
        ...
