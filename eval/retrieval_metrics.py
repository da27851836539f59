"""Quality of rankings against judgements, computed by ir_measures; an unanswered query counts zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eval.datasets import Qrels
from retrieval.errors import InvalidRequest

Run = Mapping[str, Mapping[str, float]]
"""query id -> document id -> score, higher first."""

DEFAULT_METRICS = ("nDCG@10", "RR@10", "R@20")


def evaluate(qrels: Qrels, run: Run, metrics: Sequence[str] = DEFAULT_METRICS) -> dict[str, float]:
    """Mean of each metric over every judged query, in the metrics' own names (``nDCG@10``).

    A judged query that the run does not answer counts zero: ir_measures leaves such queries out of
    its per-query results, so the mean is taken here, over ``len(qrels)``.
    """
    per_query = evaluate_by_query(qrels, run, metrics)
    return {name: sum(values.values()) / len(qrels) for name, values in per_query.items()}


def evaluate_by_query(qrels: Qrels, run: Run, metrics: Sequence[str]) -> dict[str, dict[str, float]]:
    """Each metric by query id; a judged query that the run does not answer is 0.0."""
    import ir_measures

    parsed = {str(measure): measure for measure in map(ir_measures.parse_measure, metrics)}
    values = {name: dict.fromkeys(qrels, 0.0) for name in parsed}
    plain_run = {query_id: dict(documents) for query_id, documents in run.items()}
    for result in ir_measures.iter_calc(list(parsed.values()), qrels, plain_run):
        values[str(result.measure)][result.query_id] = result.value
    return values


def best_passage_run(ranking: Sequence[tuple[str, float]]) -> dict[str, float]:
    """Turn one ranking of passages ``(document_id, score)``, best first, into documents: the best passage's score."""
    documents: dict[str, float] = {}
    for document_id, score in ranking:
        documents[document_id] = max(score, documents.get(document_id, float("-inf")))
    return documents


def known_metrics(names: Sequence[str]) -> tuple[str, ...]:
    """The metrics as ir_measures prints them. Raises InvalidRequest for a name that it does not know."""
    import ir_measures

    found = []
    for name in names:
        try:
            found.append(str(ir_measures.parse_measure(name.strip())))
        except (ValueError, NameError, SyntaxError) as error:
            raise InvalidRequest(f"{name.strip()!r} is no metric of ir_measures, such as nDCG@10 or R@20") from error
    return tuple(dict.fromkeys(found))
