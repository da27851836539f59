"""Says whether a passage supports a statement, contradicts it or does not say it, by a small local cross-encoder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from eval.citation_scores import passage_text, statements_of
from eval.grounding_marks import encoded
from eval.grounding_windows import windows
from eval.runs import AnswerRecord
from eval.targets import Answered
from retrieval.errors import InvalidRequest, ModelMissing
from retrieval.graphs import Engine, GraphRuntime, best_runtime, cpu_flags, open_engine
from retrieval.models import ModelFiles
from retrieval.tokens import Tokenizer, model_inputs

Label = Literal["supported", "contradicted", "absent"]
LABELS: tuple[Label, ...] = ("supported", "contradicted", "absent")
"""The order of a grounder's probabilities."""

Probabilities = NDArray[np.float32]
"""``[n, 3]``: rows sum to 1, columns as in LABELS."""

PAIR_TOKENS = 128
"""Longest pair that is read at once; the model was trained on pairs of up to 112."""

WINDOWS = 2
"""Stretches of a long passage that are read."""


class Grounder(Protocol):
    """A judge of statements. Thread-safe."""

    @property
    def name(self) -> str:
        """What judgements are filed under."""
        ...

    def check(self, pairs: Sequence[tuple[str, str]]) -> Probabilities:
        """For each ``(statement, passage)`` how likely the passage supports it, contradicts it, does not say it."""
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """What passages together say of a statement; ``passage`` is the place of the one that decided, -1 without any."""

    statement: str
    label: Label
    supported: float
    contradicted: float
    absent: float
    passage: int


@dataclass(frozen=True, slots=True)
class Grounded:
    """An answer's statements with their verdicts. ``faithfulness`` is the share of them that is supported."""

    verdicts: tuple[Verdict, ...]

    @property
    def faithfulness(self) -> float:
        return sum(each.label == "supported" for each in self.verdicts) / len(self.verdicts)


def grounded(found: Answered, grounder: Grounder) -> Grounded | None:
    """Each sentence of an answer against the passages that it cites, or all that were shown when it cites none.

    None when there is nothing to judge: an abstention, or an answer that states nothing.
    """
    statements = [] if found.abstained else statements_of(found)
    if not statements:
        return None
    shown = [passage_text(each) for each in found.shown]
    return Grounded(tuple(judge(grounder, [(each.text, each.cited or shown) for each in statements])))


def grounded_answers(answers: Iterable[AnswerRecord], grounder: Grounder) -> Iterator[tuple[str, Grounded]]:
    """The answers of a run that state something, by the ids of their questions; failures and abstentions do not."""
    for record in answers:
        found = grounded(record.found, grounder) if record.found is not None else None
        if found is not None:
            yield record.query_id, found


def judge(grounder: Grounder, statements: Sequence[tuple[str, Sequence[str]]]) -> list[Verdict]:
    """A verdict for each statement over all of its passages; one call of ``check``.

    The best support counts; a contradiction does only where no passage supports.
    """
    pairs = [(statement, passage) for statement, passages in statements for passage in passages]
    probabilities = grounder.check(pairs)
    verdicts, at = [], 0
    for statement, passages in statements:
        rows = probabilities[at : at + len(passages)]
        at += len(passages)
        place = decisive(rows)
        row = rows[place] if place >= 0 else np.array([0, 0, 1], np.float32)
        supported, contradicted, absent = (float(each) for each in row)
        verdicts.append(Verdict(statement, LABELS[int(row.argmax())], supported, contradicted, absent, place))
    return verdicts


def decisive(rows: Probabilities) -> int:
    """Of one statement's rows the one that counts; -1 when there is none.

    The most supported when it is supported; else the most contradicted when that is contradicted; else the
    most supported again.
    """
    if not len(rows):
        return -1
    likeliest = rows.argmax(1)
    best, worst = int(rows[:, 0].argmax()), int(rows[:, 1].argmax())
    return worst if likeliest[best] != 0 and likeliest[worst] == 1 else best


def open_grounder(files: ModelFiles, *, runtime: GraphRuntime | None = None, threads: int = 0) -> GroundingModel:
    """Load a grounding model from its ONNX file; ``threads`` of 0 means one for each core.

    Raises ModelMissing when the files do not serve, InvalidRequest when the model is of another kind.
    """
    if files.kind != "grounder":
        raise InvalidRequest(f"the model {files.name} is no grounder but: {files.kind}; riddle-grounding is one")
    if files.onnx is None:
        raise ModelMissing(f"{files.path} holds no ONNX file: riddle models pull {files.name}")
    engine = open_engine(files.onnx, runtime or best_runtime(cpu_flags()), threads)
    return GroundingModel(f"local:{files.name}", Tokenizer(files.tokenizer), engine, min(files.max_tokens, PAIR_TOKENS))


class GroundingModel:
    """A cross-encoder whose graph gives three probabilities. Thread-safe."""

    def __init__(self, name: str, tokenizer: Tokenizer, engine: Engine, pair_tokens: int) -> None:
        self._name = name
        self._tokenizer = tokenizer
        self._engine = engine
        self._pair_tokens = pair_tokens

    @property
    def name(self) -> str:
        return self._name

    def check(self, pairs: Sequence[tuple[str, str]]) -> Probabilities:
        """See ``Grounder``. Of a passage that is too long the stretches are read that share most with the statement."""
        read = [(statement, windows(statement, passage, self._pair_tokens, WINDOWS)) for statement, passage in pairs]
        rows = self._rows([(statement, part) for statement, parts in read for part in parts])
        found: Probabilities = np.zeros((len(pairs), 3), np.float32)
        at = 0
        for number, (_, parts) in enumerate(read):
            mine = rows[at : at + len(parts)]
            at += len(parts)
            found[number] = mine[decisive(mine)]
        return found

    def _rows(self, pairs: Sequence[tuple[str, str]]) -> Probabilities:
        inputs = [encoded(self._tokenizer, statement, passage, self._pair_tokens) for statement, passage in pairs]
        found: Probabilities = np.zeros((len(pairs), 3), np.float32)

        def fill(row: int) -> None:
            found[row] = self._engine.graph.run(model_inputs([inputs[row]]))[0]

        # One by one: activations are quantised over a whole batch, so that a verdict would hang on its company
        # (0.02 of balanced accuracy on SciFact), and onnxruntime is no faster in batches.
        self._engine.lanes.run(fill, range(len(inputs)))
        return found
