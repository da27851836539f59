"""From lists to batches: which passages of a list a step sees, as token ids, in micro-batches of like length."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ranking.train.lists import Lists, RankedList
from ranking.train.losses import NO_SCORE
from retrieval.batching import token_batches
from retrieval.tokens import Encoded, Tokenizer, model_inputs

LIST = "list"
"""The one column of the data set: numbers of lists; a number past the last one is a further turn of the same."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What of a list is read: ``passages`` of it, pairs of at most ``tokens``, micro-batches of ``batch_tokens``.

    ``margin``: a passage that is judged irrelevant, or not at all, and that the teacher scores above the best relevant
    one less this many logits is taken for a false negative; the judgements' part of the loss leaves it out.
    """

    passages: int = 8
    tokens: int = 256
    batch_tokens: int = 32_000
    margin: float = 0.0


@dataclass
class Collator:
    """Makes the batches of a CrossEncoderTrainer out of numbers of lists. The same number gives the same rows.

    ``languages`` are those that the student reads.
    """

    lists: Sequence[RankedList]
    texts: Mapping[str, str]
    tokenizer: Tokenizer
    reading: Reading
    seed: int
    valid_label_columns: list[str] = field(default_factory=lambda: ["label"])
    """Looked for by the trainer."""

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        chosen = [self._chosen(int(row[LIST])) for row in features]
        rows: list[Encoded] = []
        for each, places in chosen:
            passages = [self.texts[each.passages[place]] for place in places]
            rows += self.tokenizer.encode_pairs(each.query, passages, self.reading.tokens)
        batches = token_batches([len(row) for row in rows], self.reading.batch_tokens, most=len(rows))
        order = np.argsort(np.concatenate([np.asarray(batch, np.int64) for batch in batches]))
        width = max(len(places) for _, places in chosen)
        table = np.zeros((len(chosen), width), np.int64)
        at = 0
        for number, (_, places) in enumerate(chosen):
            table[number, : len(places)] = order[at : at + len(places)]
            at += len(places)
        inputs = [_tensors(model_inputs([rows[row] for row in batch])) for batch in batches]
        return {"batches": inputs, "places": torch.from_numpy(table), "label": self._labels(chosen, width)}

    def _chosen(self, number: int) -> tuple[RankedList, list[int]]:
        """A list and the passages of it that are read: a relevant one first, where there is one, and others."""
        turn, place = divmod(number, len(self.lists))
        each = self.lists[place]
        rng = random.Random(f"{self.seed} {turn} {each.list_id}")
        relevant = [at for at, grade in enumerate(each.grades) if grade > 0]
        others = [at for at, grade in enumerate(each.grades) if grade == 0]
        first = [rng.choice(relevant)] if relevant else []
        rest = rng.sample(others, min(len(others), self.reading.passages - len(first)))
        return each, first + rest

    def _labels(self, chosen: Sequence[tuple[RankedList, list[int]]], width: int) -> dict[str, torch.Tensor]:
        shape = (len(chosen), width)
        scores, grades = np.full(shape, NO_SCORE, np.float32), np.zeros(shape, np.float32)
        late = np.full(shape, NO_SCORE, np.float32)
        present, comparable = np.zeros(shape, bool), np.zeros(shape, bool)
        for number, (each, places) in enumerate(chosen):
            count = len(places)
            present[number, :count] = True
            grades[number, :count] = [each.grades[place] for place in places]
            comparable[number, :count] = True
            if each.scores:
                scores[number, :count] = [each.scores[place] for place in places]
                comparable[number, :count] = _comparable(scores[number, :count], grades[number, :count], self.reading)
            if each.late:
                late[number, :count] = [each.late[place] for place in places]
        made = {"scores": scores, "grades": grades, "present": present, "comparable": comparable, "late": late,
                "taught": np.array([bool(each.scores) for each, _ in chosen]),
                "seconded": np.array([bool(each.late) for each, _ in chosen])}  # fmt: skip
        return {name: torch.from_numpy(value) for name, value in made.items()}


def _comparable(scores: Any, grades: Any, reading: Reading) -> Any:
    relevant = grades > 0
    if not relevant.any():
        return relevant
    return relevant | (scores < scores[relevant].max() - reading.margin)


def _tensors(inputs: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value) for name, value in inputs.items()}


def numbers(lists: Sequence[RankedList], repeats: Mapping[str, int]) -> list[int]:
    """Numbers for ``LIST``: each list once, those of a source in ``repeats`` so many times with other passages."""
    return [
        turn * len(lists) + place for place, each in enumerate(lists) for turn in range(repeats.get(each.source, 1))
    ]


def of_languages(lists: Lists, languages: Sequence[str]) -> list[RankedList]:
    """Train lists that a student of these languages reads; those across languages where it reads both."""
    wanted = [*languages, "*"] if len(languages) > 1 else list(languages)
    return [each for each in lists.of("train", wanted) if each.scores or each.late or any(each.grades)]
