"""Rankings by stage, read off the passages of one answer of a service that explained itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from eval.targets import FINAL, STAGES, Ranking, Shown


def rankings_of(shown: Sequence[Shown]) -> dict[str, Ranking]:
    """Each stage's ranking of documents, from passages in their final order.

    Only stages that saw a passage at all are there. A stage that was asked for fewer passages than the answer shows
    is whole: passages that it did not see carry no rank of it.
    """
    found = {FINAL: best_passages((each.document_id, each.score) for each in shown)} if shown else {}
    for stage in STAGES[:-1]:
        seen = sorted((each.stages[stage], each.document_id) for each in shown if stage in each.stages)
        if seen:
            found[stage] = best_passages((document_id, score) for (_, score), document_id in seen)
    return found


def best_passages(ranking: Iterable[tuple[str, float]]) -> Ranking:
    """A ranking of documents from one of passages, best first: each document at its best passage's place."""
    documents: dict[str, float] = {}
    for document_id, score in ranking:
        documents.setdefault(document_id, score)
    return tuple(documents.items())


def as_run(ranking: Ranking) -> dict[str, float]:
    """For metrics: scores that fall with the rank, so that ties and changes of scale within a ranking play no part."""
    return {document_id: -float(rank) for rank, (document_id, _) in enumerate(ranking)}
