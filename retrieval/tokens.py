"""Token ids of texts and of query and passage pairs, from a model's own fast tokenizer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from retrieval.batching import Tokens, padded
from retrieval.errors import ModelMissing

_LONGEST_TOKEN = 64
"""Characters; text beyond this many for each token that fits is cut before it is tokenised, so that a
megabyte does not cost seconds. Real text has some 4 characters a token."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One input of a transformer, special tokens included: token ids and segment numbers of equal length."""

    ids: list[int]
    types: list[int]

    def __len__(self) -> int:
        return len(self.ids)


def model_inputs(batch: Sequence[Encoded]) -> dict[str, Tokens]:
    """The three matrices that BERT-like graphs take, int64 ``[len(batch), longest]``, padded on the right."""
    return {
        "input_ids": padded([each.ids for each in batch]),
        "attention_mask": padded([[1] * len(each) for each in batch]),
        "token_type_ids": padded([each.types for each in batch]),
    }


class Rules:
    """What a tokenizer file says; models with the same file share it."""

    def __init__(self, path: Path, text: str) -> None:
        import tokenizers

        try:
            known = "model" in json.loads(text)
        except ValueError:
            known = False
        if not known:
            raise ModelMissing(f"{path} is not a tokenizer file: pull the model again")
        self.tokenizer: Any = tokenizers.Tokenizer.from_str(text)
        # Files often carry the padding and truncation of whoever exported them.
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()


_OPEN: WeakValueDictionary[str, Rules] = WeakValueDictionary()
"""Those in use, by the sha256 of their files: an encoder and a reranker with one vocabulary share it. A vocabulary of
250,000 pieces takes 290 MB and a second and a half."""


class Tokenizer:
    """A tokenizer file of the `tokenizers` library. Thread-safe: after it is made it is only read."""

    def __init__(self, path: Path) -> None:
        """Raises ModelMissing when the file is not a tokenizer."""
        text = path.read_text(encoding="utf-8")
        key = hashlib.sha256(text.encode()).hexdigest()
        self.rules = _OPEN.get(key) or _OPEN.setdefault(key, Rules(path, text))
        self._tokenizer = self.rules.tokenizer
        self._single = int(self._tokenizer.num_special_tokens_to_add(False))
        self._pair = int(self._tokenizer.num_special_tokens_to_add(True))

    def id_of(self, token: str) -> int:
        """The number of a token of the vocabulary. Raises ModelMissing when there is none."""
        found: int | None = self._tokenizer.token_to_id(token)
        if found is None:
            raise ModelMissing(f"the tokenizer knows no {token}: it is not this model's; pull the model again")
        return found

    def encode(self, texts: Sequence[str], max_tokens: int) -> list[Encoded]:
        """Each text with its special tokens, cut to ``max_tokens``."""
        room = max_tokens - self._single
        return [_encoded(self._tokenizer.post_process(each)) for each in self._cut(texts, room)]

    def encode_pairs(self, query: str, texts: Sequence[str], max_tokens: int) -> list[Encoded]:
        """Query and text as one input each, cut to ``max_tokens``.

        The text is cut and the query is not, except that it gets half of the room at most.
        """
        room = max_tokens - self._pair
        (first,) = self._cut([query], room // 2)
        rest = room - len(first.ids)
        return [_encoded(self._tokenizer.post_process(first, each)) for each in self._cut(texts, rest)]

    def encode_marked(
        self, first: str, second: str, marks: tuple[Sequence[bool], Sequence[bool]], max_tokens: int
    ) -> Encoded:
        """Two texts as one input, cut as ``encode_pairs`` does; segment 1 are tokens whose last character is marked.

        ``marks`` has one truth value for each character of either text.
        """
        room = max_tokens - self._pair
        (left,) = self._cut([first], room // 2)
        (right,) = self._cut([second], room - len(left.ids))
        both = self._tokenizer.post_process(left, right)
        # A token's span may begin with the space before it.
        own = (
            int(end > start and marked[end - 1])
            for part, marked in zip((left, right), marks, strict=True)
            for start, end in part.offsets
        )
        return Encoded(both.ids, [0 if special else next(own) for special in both.special_tokens_mask])

    def _cut(self, texts: Sequence[str], room: int) -> list[Any]:
        short = [text[: room * _LONGEST_TOKEN] for text in texts]
        encodings: list[Any] = self._tokenizer.encode_batch(short, add_special_tokens=False)
        for each in encodings:
            each.truncate(room)
        return encodings


def _encoded(encoding: Any) -> Encoded:
    return Encoded(encoding.ids, encoding.type_ids)
