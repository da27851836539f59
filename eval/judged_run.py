"""What judges have made of a run, put where comparing and reporting look: its metrics, and ``judges.json``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from eval.answer_scores import answer_scores
from eval.citation_scores import Check, citation_scores
from eval.evaluate import ANSWER, write_metrics
from eval.judge_calibration import Calibration, calibration_in
from eval.judging import GROUNDING_METRICS, TRIAD, aggregate, by_judge_and_metric, values_of
from eval.runs import BY_QUERY, JUDGES, Judgement, RunFolder
from retrieval.analysis import language_of
from retrieval.errors import InvalidRequest

FEW = 0.05
"""A language of fewer of the questions does not count as one of the run's: a title, a name, a slip."""


def ground_all(
    folder: RunFolder, check: Check, judge: str, limit: int | None, say: Callable[[int, int, int], None]
) -> None:
    """Judge groundedness and citations of the first ``limit`` answers, as far as ``judge`` has not judged them yet.

    ``judge`` is the name of the grounding model that ``check`` is of; ``say(done, total, failed)``.
    """
    there = {(each.query_id, each.metric) for each in folder.judgements() if each.judge == judge}
    answers = [each for each in folder.answers() if each.found is not None and not each.found.abstained][:limit]
    for done, record in enumerate(answers, 1):
        wanted = [metric for metric in GROUNDING_METRICS if (record.query_id, metric) not in there]
        scores = citation_scores(record.found, check) if wanted and record.found is not None else None
        if scores is not None:
            values = {
                "groundedness": scores.groundedness,
                "citation_recall": scores.recall,
                "citation_precision": scores.precision,
            }
            for metric in wanted:
                folder.append(Judgement(record.query_id, metric, judge, values[metric]))
        say(done, len(answers), 0)


def forget_failed(folder: RunFolder, judge: str) -> int:
    """Take the judge's failed judgements out of the folder, so that they are asked for again. Returns how many."""
    judgements = list(folder.judgements())
    kept = [each for each in judgements if each.judge != judge or each.value is not None]
    if len(kept) < len(judgements):
        folder.rewrite(kept, Judgement)
    return len(judgements) - len(kept)


def write_judged(folder: RunFolder, calibrations: Sequence[Calibration]) -> dict[str, Any]:
    """Write the run's metrics of answers anew, judged ones among them, and ``judges.json``, which is returned.

    Where several judges judged one metric, its value is that of a fit one before an unfit one, and of those the one
    that first judged it last; ``metrics`` of a judge names those that are its. Failed judgements give a question no
    value; ``judged`` counts them and tells how much they could matter. What was known of a judge stays known.
    """
    languages = languages_of(folder)
    known = {name: calibration_in(each) for name, each in (folder.json(JUDGES) or {}).items()}
    known |= {each.judge: each for each in calibrations}
    chosen: dict[str, tuple[bool, str, Mapping[str, float]]] = {}
    judges: dict[str, Any] = {}
    for judge, metric, made in by_judge_and_metric(folder.judgements()):
        entry = judges.setdefault(judge, {**_fitness(known.get(judge), languages), "metrics": [], "judged": {}})
        entry["judged"][metric] = asdict(aggregate(made))
        fit = entry["fit"] is True
        if fit or not chosen.get(metric, (False,))[0]:
            chosen[metric] = (fit, judge, values_of(made))
    for metric, (_, judge, _) in sorted(chosen.items()):
        judges[judge]["metrics"].append(metric)
    by_query = dict(folder.json(BY_QUERY) or {})
    judged = {metric: values for metric, (_, _, values) in chosen.items() if values}
    by_query[ANSWER] = answer_scores(folder.answers(), folder.questions(), folder.qrels()) | judged
    write_metrics(folder, by_query)
    folder.write_json(JUDGES, judges)
    return judges


def languages_of(folder: RunFolder) -> tuple[str, ...]:
    """The languages that the run's questions are in. Raises InvalidRequest when nothing was answered in it."""
    questions = folder.questions()
    if not any(True for _ in folder.answers()):
        raise InvalidRequest(f"{folder.path} holds no answers; make a run with `riddle eval run --answers`")
    counted = Counter(language_of(each.text) for each in questions.values())
    return tuple(language for language, n in counted.items() if n >= FEW * len(questions))


def triad(metrics: Mapping[str, float]) -> dict[str, tuple[str, float]]:
    """Context relevance, groundedness and answer relevance: the metric that stands for each, and its mean."""
    found = {}
    for name, standing in TRIAD.items():
        metric = next((each for each in standing if each in metrics), None)
        if metric is not None:
            found[name] = (metric, metrics[metric])
    return found


def _fitness(found: Calibration | None, languages: Sequence[str]) -> dict[str, Any]:
    """``fit`` is for the run's own languages; None for a judge that was never calibrated."""
    if found is None:
        return {"fit": None, "balanced_accuracy": None}
    return {
        **asdict(found),
        "fit": found.fit_for(languages),
        "balanced_accuracy": found.figures.balanced_accuracy,
    }
