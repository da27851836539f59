"""What `riddle tune` does: finds evidence of how a collection is best ranked, weighs it, and puts it in force."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from eval.datasets import Dataset, open_dataset
from eval.known_items import ask_items, draw_items
from eval.tuning import Asked, Trial, Verdict, decide, look
from eval.usage_rows import FEEDBACK_FOLDER
from ranking.blend import Blend
from ranking.calibration import Calibration, fit_calibration
from ranking.pipeline import RankPipeline
from ranking.query_signs import query_signs
from ranking.tuned import Tuned, TunedShelf, as_rung, defaults, rung_of, tuned_file, write_tuned
from retrieval.errors import InvalidRequest, RiddleError
from retrieval.store import CollectionStore
from services.bootstrap import collections_folder, rank_pipeline
from services.encoders import encoder_named
from services.late import late_for
from services.learning import all_stages
from services.local import local_asker
from services.settings import Settings
from services.stage_scores import ask_all
from services.targets.riddle import Loop

Kind = Literal["judgements", "clicks", "collection"]
Say = Callable[[str, int, int, int], None]
"""Told the part under way, what is done of it, of how many, and how many failed."""

ITSELF_DEPTH = 50
"""Candidates of a question that the collection is asked about itself: the right one is found early or not at all."""

CALIBRATES = 50
"""Relevant candidates from which on the collection's own probabilities are fitted."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Queries of which something is known, with what every stage said of their candidates."""

    kind: Kind
    source: str
    asked: tuple[Asked, ...]
    degraded: Mapping[str, int]
    """How many searches went without a stage."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """What came of it."""

    collection: str
    evidence: Evidence
    verdict: Verdict
    file: Path | None
    """What was written; None when nothing was."""

    def as_json(self) -> dict[str, Any]:
        verdict = self.verdict
        return {
            "collection": self.collection,
            "evidence": self.evidence.kind,
            "source": self.evidence.source,
            "queries": verdict.queries,
            "degraded": dict(self.evidence.degraded),
            "metric": verdict.metric,
            "tried": [_trial_json(each) for each in verdict.trials],
            "adopted": verdict.adopted or None,
            "reason": verdict.reason,
            "queries_needed": verdict.needed,
            "weights": dict(verdict.blend.weights),
            "file": str(self.file) if self.file else None,
        }


def questions_of(settings: Settings, collection: str, judgements: str, split: str | None, limit: int) -> Dataset | None:
    """The judged queries that were named, else those of the collection's clicks and ratings, else none.

    Raises InvalidRequest for judgements that were named and cannot be read.
    """
    if judgements:
        return open_dataset(judgements, split, limit)
    feedback = settings.home / FEEDBACK_FOLDER
    if not feedback.is_dir():
        return None
    with contextlib.suppress(InvalidRequest):  # no click of this collection yet: there is other evidence
        return open_dataset(feedback, collection, limit)
    return None


def gather(
    settings: Settings, collection: str, questions: Dataset | None, kind: Kind, items: int, depth: int, say: Say
) -> Evidence:
    """Ask all the queries; with no questions, ask the collection about itself. Raises RiddleError."""
    if questions is None:
        asked = _about_itself(settings, collection, items, depth, say)
        return Evidence("collection", "sentences of its own passages", asked, {})
    texts = {query_id: each.text for query_id, each in questions.questions.items() if questions.qrels.get(query_id)}
    if not texts:
        raise InvalidRequest(f"{questions.source} judges no document: it cannot tell which order is better")
    degraded: dict[str, int] = {}
    asked_of: list[Asked] = []
    seeing = local_asker(all_stages(settings), collection=collection)
    with contextlib.closing(Loop()) as loop, loop.entered(seeing) as asker:
        told = ask_all(loop, asker, collection, texts, depth, lambda done, total: say("asking", done, total, 0))
        for each in told:
            for stage in each.degraded:
                degraded[stage] = degraded.get(stage, 0) + 1
            grades = questions.qrels[each.query_id]
            asked_of.append(Asked(each.query_id, each.table, each.documents, grades))
    return Evidence(kind, questions.source, tuple(asked_of), degraded)


def weigh(settings: Settings, collection: str, evidence: Evidence, level: float, *, write: bool) -> Tuning:
    """Decide, and put what is adopted in force if ``write``. Raises RiddleError."""
    now = TunedShelf(settings.home).of(collection)
    default = defaults()
    if evidence.kind == "collection":
        return Tuning(collection, evidence, look(evidence.asked, default.blend, now.blend), None)
    verdict = decide(evidence.asked, default.blend, now.blend, level=level)
    if not (verdict.adopted and write):
        return Tuning(collection, evidence, verdict, None)
    calibrations = _calibrations(evidence, verdict.blend, default.calibrations)
    tuned = Tuned(verdict.blend, calibrations, default.usual, _told(evidence, verdict))
    return Tuning(collection, evidence, verdict, write_tuned(settings.home, collection, tuned))


def reset(settings: Settings, collection: str) -> bool:
    """Go back to the defaults. False when they were in force already."""
    path = tuned_file(settings.home, collection)
    there = path.exists()
    path.unlink(missing_ok=True)
    return there


def own_name(settings: Settings, collection: str) -> str:
    """The collection's own name, also for an alias of it. Raises CollectionNotFound."""
    return CollectionStore(collections_folder(settings.home)).info(collection).name


def _about_itself(settings: Settings, collection: str, items: int, depth: int, say: Say) -> tuple[Asked, ...]:
    snapshot = CollectionStore(collections_folder(settings.home)).snapshot(collection)
    drawn = draw_items(snapshot, items)
    if not drawn:
        raise InvalidRequest(
            f"{collection} holds no passage of several sentences that it could be asked about: name --judgements"
        )
    encoder = None
    if snapshot.info.encoder:
        with contextlib.suppress(RiddleError):  # as a search would do: without vectors if need be
            encoder = encoder_named(snapshot.info.encoder, settings)
    late = None
    if snapshot.late_spec is not None:
        with contextlib.suppress(RiddleError):
            late = late_for(snapshot.late_spec, settings)
    pipeline = RankPipeline(None)
    with contextlib.suppress(RiddleError):
        pipeline = rank_pipeline(settings)
    told = ask_items(
        drawn, snapshot, encoder, pipeline, min(depth, ITSELF_DEPTH), lambda done, total: say("asking", done, total, 0),
        late,
    )  # fmt: skip
    asked = []
    for number, each in enumerate(told):
        names = tuple(str(place) for place in range(len(each.table)))
        grades = {name: int(gain) for name, gain in zip(names, each.gains, strict=True) if gain}
        # The passage that was not found at all counts too, as a document that no candidate is.
        asked.append(Asked(str(number), each.table, names, grades or {"not found": 1}))
    return tuple(asked)


def _calibrations(evidence: Evidence, blend: Blend, default: Sequence[Calibration]) -> tuple[Calibration, ...]:
    """For each rung that ran, fitted here if the judgements allow it; the default's for the others."""
    judged = [each.judged(blend.order(each.table)) for each in evidence.asked if len(each.table)]
    best = rung_of(judged[0].table) if judged else "fused"
    found = {(each.rung, each.model): each for each in default}
    scales = blend.scales or default[0].scales
    for rung in dict.fromkeys((best, "fused")):
        tables = [as_rung(each.table, rung) for each in judged]
        known = [np.isfinite(each.gains) for each in judged]
        relevant = [(each.gains[some] > 0).astype(np.float64) for each, some in zip(judged, known, strict=True)]
        if sum(each.sum() for each in relevant) < CALIBRATES:
            continue
        scores = [blend.scores(table)[some] for table, some in zip(tables, known, strict=True)]
        found[rung, ""] = fit_calibration(rung, scores, relevant, [query_signs(table) for table in tables], scales)
    return tuple(found.values())


def _told(evidence: Evidence, verdict: Verdict) -> dict[str, Any]:
    adopted = next(each for each in verdict.trials if each.name == verdict.adopted)
    return {
        "kind": evidence.kind,
        "source": evidence.source,
        "queries": verdict.queries,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "metric": verdict.metric,
        **_trial_json(adopted),
    }


def _trial_json(trial: Trial) -> dict[str, Any]:
    return {
        "name": trial.name,
        "value": round(trial.value, 4),
        "gain": round(trial.gain, 4),
        "interval": [round(trial.low, 4), round(trial.high, 4)],
        "p": round(trial.p, 4),
    }
