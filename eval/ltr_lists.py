"""Judged lists of candidates to learn ranking from: of searches just made, and of a run folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eval.runs import RunFolder
from ranking.features import STAGES, FeatureSet, Vectors
from ranking.train.trees import Lists
from retrieval.errors import InvalidRequest
from retrieval.types import Candidate, Passage, StageScore


@dataclass(frozen=True, slots=True)
class JudgedList:
    """One query's candidates with what is known of them."""

    query: str
    """What halves are split by: lists of one query stay together."""
    names: tuple[str, ...]
    """What is judged of each row: its document, or its passage where clicks are counted."""
    vectors: Vectors
    """``[rows, columns]``."""
    judged: Mapping[str, int]
    """Name to grade; also of what is not among the rows, which no order can bring."""
    weight: float = 1.0

    @property
    def grades(self) -> NDArray[np.int64]:
        return np.array([max(0, self.judged.get(name, 0)) for name in self.names], np.int64)


def judged_list(
    query_id: str, query: str, candidates: Sequence[Candidate], judged: Mapping[str, int], features: FeatureSet
) -> JudgedList:
    """The candidates of one search with the judgements of its query, by document."""
    documents = tuple(candidate.passage.document_id for candidate in candidates)
    return JudgedList(query_id, documents, features(query, candidates), judged)


def as_lists(judged: Sequence[JudgedList], inputs: NDArray[np.int64]) -> Lists:
    """All of them for training, with only the columns that ``inputs`` numbers."""
    if not judged:
        raise InvalidRequest("there is no list to learn from")
    return Lists(
        np.concatenate([each.vectors[:, inputs] for each in judged]),
        np.concatenate([each.grades for each in judged]),
        np.array([len(each.names) for each in judged], np.int64),
        np.array([each.weight for each in judged], np.float64),
    )


def lists_of_run(run: RunFolder, features: FeatureSet) -> list[JudgedList]:
    """What a run folder holds: rank and score by stage, of documents; their texts it does not keep.

    Raises InvalidRequest for a run without judgements, or of a target that does not tell its stages apart.
    """
    qrels, questions = run.qrels(), run.questions()
    found = []
    for record in run.searches():
        judged = qrels.get(record.query_id)
        if judged and record.found is not None:
            stages = {stage: ranking for stage, ranking in record.found.rankings.items() if stage in STAGES}
            candidates = _documents(stages)
            if candidates:
                text = questions[record.query_id].text
                found.append(judged_list(record.query_id, text, candidates, judged, features))
    if not found:
        raise InvalidRequest(
            f"{run.path} holds no judged search with stages to learn from: it needs judgements of documents, and a "
            "target that explains itself"
        )
    return found


def columns_of_run(names: Sequence[str]) -> tuple[str, ...]:
    """The columns that a run folder can fill: those that need no text of a passage."""
    kept = (*STAGES, "query", "candidates")
    return tuple(name for name in names if name.split(".")[0] in kept and name != "candidates.covered")


def _documents(stages: Mapping[str, Iterable[tuple[str, float]]]) -> list[Candidate]:
    """Each document that a stage ranked as a candidate without text, best fused first."""
    seen: dict[str, dict[str, StageScore]] = {}
    for stage, ranking in stages.items():
        for rank, (document_id, score) in enumerate(ranking, 1):
            seen.setdefault(document_id, {})[stage] = StageScore(rank, score)
    last = StageScore(len(seen) + 1, 0.0)
    ordered = sorted(seen.items(), key=lambda each: (each[1].get("fused", last).rank, each[0]))
    return [
        Candidate(Passage(f"{document_id}#0", document_id, "", (0, 0)), found.get("fused", last).score, "fused", found)
        for document_id, found in ordered
    ]
