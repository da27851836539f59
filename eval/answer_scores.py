"""What can be said of answers without a judge: nearness to the gold, abstentions, citations of the right passages.

===========================  ==========================================================================================
``exact_match``, ``f1``      against the nearest gold answer; of an unanswerable question 1 when it was refused, else 0
                             (as SQuAD 2.0 counts, Rajpurkar et al., ACL 2018)
``gold_contained``           a gold answer stands in the answer; gold answers are spans, and ours are sentences
``answered``                 an answer was written, right or wrong
``evidence_shown``           a shown passage holds a gold answer
``evidence_answered``        of those: it was answered and not refused
``abstention_right``         of refusals: the question was unanswerable, or no shown passage held a gold answer
``unanswerable_refused``     of unanswerable questions: refused
``statements_cited``         share of the answer's statements that cite anything
``citation_gold_precision``  share of citations whose passage is right: it holds a gold answer; without gold answers,
                             it is part of a document that was judged relevant
``citation_gold_recall``     of answers that were shown a right passage: one is cited
``id_context_precision``     share of shown documents that were judged relevant, as RAGAS' IDBasedContextPrecision
``id_context_recall``        share of documents judged relevant that were shown, as RAGAS' IDBasedContextRecall
===========================  ==========================================================================================

More is better in all of them but ``answered``. A question that brought an error counts zero wherever it is counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from eval.answer_spans import contains, exact_match, f1
from eval.citation_scores import passage_text, statements_of
from eval.datasets import Qrels, Question
from eval.runs import AnswerRecord
from eval.targets import Answered, Shown
from retrieval.analysis import language_of


def answer_scores(
    records: Iterable[AnswerRecord], questions: Mapping[str, Question], qrels: Qrels
) -> dict[str, dict[str, float]]:
    """Each metric by query id, only of questions that it can be said of: ``{metric: {query_id: value}}``."""
    scores: dict[str, dict[str, float]] = {}
    for record in records:
        question = questions[record.query_id]
        relevant = {name for name, grade in qrels.get(record.query_id, {}).items() if grade > 0}
        found = record.found or Answered("", abstained=False, citations=(), shown=(), timings_ms={})
        of_one = {
            "answered": float(bool(found.answer) and not found.abstained),
            **_against_gold(question, found),
            **_abstention(question, found),
            **_citations(question, found, relevant),
            **id_context([each.document_id for each in found.shown], relevant),
        }
        for metric, value in of_one.items():
            scores.setdefault(metric, {})[record.query_id] = value
    return scores


def id_context(shown: Sequence[str], relevant: set[str]) -> dict[str, float]:
    """Precision and recall of the set of shown documents; nothing where none was judged relevant.

    Where nothing was shown, precision is 0.0, as for every unanswered question; RAGAS gives NaN.
    """
    if not relevant:
        return {}
    hits = len(relevant & set(shown))
    precision = hits / len(set(shown)) if shown else 0.0
    return {"id_context_precision": precision, "id_context_recall": hits / len(relevant)}


def _against_gold(question: Question, found: Answered) -> dict[str, float]:
    if not question.answerable:
        return dict.fromkeys(("exact_match", "f1"), float(found.abstained))
    if not question.answers:
        return {}
    answer, language = "" if found.abstained else found.answer, language_of(question.text)
    return {
        "exact_match": exact_match(answer, question.answers, language),
        "f1": f1(answer, question.answers, language),
        "gold_contained": float(contains(answer, question.answers, language)),
    }


def _abstention(question: Question, found: Answered) -> dict[str, float]:
    scores: dict[str, float] = {}
    if not question.answerable:
        scores["unanswerable_refused"] = float(found.abstained)
        return scores | ({"abstention_right": 1.0} if found.abstained else {})
    if not question.answers:
        return {}
    evidence = any(_holds_gold(question, each) for each in found.shown)
    scores["evidence_shown"] = float(evidence)
    if evidence:
        scores["evidence_answered"] = float(not found.abstained)
    if found.abstained:
        scores["abstention_right"] = float(not evidence)
    return scores


def _citations(question: Question, found: Answered, relevant: set[str]) -> dict[str, float]:
    statements = [] if found.abstained else statements_of(found)
    if not statements:
        return {}
    scores = {"statements_cited": sum(bool(each.cited) for each in statements) / len(statements)}
    if not question.answers and not relevant:
        return scores
    right = {
        each.passage_id
        for each in found.shown
        if (_holds_gold(question, each) if question.answers else each.document_id in relevant)
    }
    cited = [each.passage_id for each in found.citations]
    scores["citation_gold_precision"] = sum(each in right for each in cited) / len(cited) if cited else 0.0
    if right:
        scores["citation_gold_recall"] = float(not right.isdisjoint(cited))
    return scores


def _holds_gold(question: Question, shown: Shown) -> bool:
    return contains(passage_text(shown), question.answers, language_of(question.text))
