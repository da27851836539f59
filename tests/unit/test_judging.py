"""Judgements of a run: made once, failures counted and bounded, spread of repeats, and what stands in the folder."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from eval.evaluate import ANSWER
from eval.grounding_cases import CONTRADICTED, SUPPORTED, Pair
from eval.judge import JudgementFailed
from eval.judge_calibration import (
    Calibration,
    Told,
    ask_grounding,
    ask_judge,
    calibration,
    figures,
    read_calibration,
    write_calibration,
)
from eval.judged_run import forget_failed, ground_all, triad, write_judged
from eval.judging import METRICS, MOST_AWAY, Sample, aggregate, asks, judge_all, samples_of
from eval.runs import BY_QUERY, Judgement, RunFolder
from eval.runs import METRICS as METRICS_FILE
from retrieval.errors import InvalidRequest, Unavailable
from tests.runs import Made, write_run

JUDGE = "model@0123abcd/ragas-0"


class Scripted:
    """Measures by a table; what is not in it is 0.5."""

    def __init__(self, script: dict[tuple[str, str], float | str] | None = None) -> None:
        self.script = script or {}
        self.asked: list[tuple[str, str]] = []
        self.running = self.most = 0

    async def __call__(self, metric: str, sample: Sample) -> float:
        self.asked.append((sample.query_id, metric))
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        found = self.script.get((sample.query_id, metric), 0.5)
        if isinstance(found, str):
            raise JudgementFailed(found)
        return found


def samples(*names: str) -> list[Sample]:
    return [Sample(name, "why?", "so.", ("because",), "so") for name in names]


def made(query_id: str, value: float | None, repeat: int = 0, metric: str = "faithfulness") -> Judgement:
    return Judgement(query_id, metric, JUDGE, value, "" if value is not None else "timeout", repeat)


async def test_what_was_judged_is_not_asked_again() -> None:
    every = asks(samples("a", "b"), ["faithfulness", "answer_relevancy"], JUDGE, 2, [])
    assert len(every) == 8
    kept: list[Judgement] = []
    await judge_all(every[:3], Scripted(), JUDGE, 2, kept.append)
    rest = asks(samples("a", "b"), ["faithfulness", "answer_relevancy"], JUDGE, 2, kept)
    assert [(ask.sample.query_id, ask.metric, ask.repeat) for ask in rest] == [
        (ask.sample.query_id, ask.metric, ask.repeat) for ask in every[3:]
    ]
    assert len(asks(samples("a", "b"), ["faithfulness", "answer_relevancy"], "another", 2, kept)) == 8


async def test_failed_judgements_are_kept_with_their_kind_and_not_asked_again() -> None:
    kept: list[Judgement] = []
    measure = Scripted({("a", "faithfulness"): "timeout", ("b", "faithfulness"): 1.0})
    await judge_all(asks(samples("a", "b"), ["faithfulness"], JUDGE, 1, []), measure, JUDGE, 4, kept.append)
    assert sorted(kept, key=lambda each: each.query_id) == [made("a", None), made("b", 1.0)]
    assert asks(samples("a", "b"), ["faithfulness"], JUDGE, 1, kept) == []


async def test_no_more_are_asked_at_once_than_was_said() -> None:
    measure = Scripted()
    await judge_all(
        asks(samples(*map(str, range(30))), ["faithfulness"], JUDGE, 1, []), measure, JUDGE, 4, lambda _: None
    )
    assert (measure.most, len(measure.asked)) == (4, 30)
    await judge_all([], measure, JUDGE, 4, lambda _: None)


async def test_a_judge_that_went_away_ends_the_asking() -> None:
    names = [str(number) for number in range(100)]
    measure = Scripted({(name, "faithfulness"): "unreachable" for name in names[20:]})
    kept: list[Judgement] = []
    with pytest.raises(Unavailable, match="run this again"):
        await judge_all(asks(samples(*names), ["faithfulness"], JUDGE, 1, []), measure, JUDGE, 1, kept.append)
    assert len(measure.asked) == 20 + MOST_AWAY
    assert len(kept) == 20 + MOST_AWAY - 1


def test_failures_are_bounded_and_never_averaged_away() -> None:
    found = aggregate([made("a", 1.0), made("b", None), made("c", 0.5), made("d", None)])
    assert (found.value, found.questions, found.n, found.failed) == (0.75, 4, 4, 2)
    assert (found.low, found.high) == (1.5 / 4, 3.5 / 4)
    assert found.errors == {"timeout": 2}
    assert found.spread is None
    nothing = aggregate([made("a", None)])
    assert (nothing.value, nothing.low, nothing.high) == (None, 0.0, 1.0)


def test_repeats_give_the_judges_spread_within_a_question() -> None:
    found = aggregate(
        [
            made("a", 0.0, 0),
            made("a", 1.0, 1),
            made("b", 0.5, 0),
            made("b", 0.5, 1),
            made("c", 1.0, 0),
            made("c", None, 1),
        ]
    )
    # Two questions have two repeats each: sums of squares 0.5 and 0, one degree of freedom each.
    assert found.spread == pytest.approx(math.sqrt(0.5 / 2))
    assert found.value == pytest.approx((0.5 + 0.5 + 1.0) / 3)
    assert found.low == pytest.approx((0.5 + 0.5 + 0.5) / 3)
    assert found.high == pytest.approx((0.5 + 0.5 + 1.0) / 3)


def test_a_run_gives_its_answers_as_samples_and_its_refusals_without_one(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", Made(answers=True))
    found = samples_of(folder)
    answers = {each.query_id: each.found for each in folder.answers() if each.found is not None}
    assert [each.query_id for each in found] == list(answers)
    for each in found:
        assert each.contexts == tuple(
            f"{shown.title}\n{shown.text}" if shown.title else shown.text for shown in answers[each.query_id].shown
        )
        assert (each.answer == "") == answers[each.query_id].abstained
        assert METRICS["faithfulness"].met(each) == bool(each.answer and each.contexts)


def plain(folder: RunFolder) -> RunFolder:
    """The run without the judgements that tests/runs.py made up."""
    folder.rewrite([], Judgement)
    return folder


def test_judged_metrics_stand_beside_the_others_and_a_fit_judges_before_an_unfit_ones(tmp_path: Path) -> None:
    folder = plain(write_run(tmp_path / "run", Made(answers=True)))
    before = folder.json(METRICS_FILE)
    ids = [each.query_id for each in samples_of(folder)][:3]
    for judge, value in (("good", 0.75), ("bad", 0.25), ("worse", 0.1)):
        for query_id in ids:
            folder.append(Judgement(query_id, "faithfulness", judge, value))
    folder.append(Judgement(ids[0], "answer_relevancy", "bad", None, "truncated"))
    judges = write_judged(folder, [_calibrated("good", 1.0), _calibrated("bad", 0.5)])
    assert {name: entry["fit"] for name, entry in judges.items()} == {"good": True, "bad": False, "worse": None}
    assert {name: entry["metrics"] for name, entry in judges.items()} == {
        "good": ["faithfulness"], "bad": ["answer_relevancy"], "worse": [],
    }  # fmt: skip
    metrics = folder.json(METRICS_FILE)
    assert metrics[ANSWER]["faithfulness"] == 0.75
    assert "answer_relevancy" not in metrics[ANSWER]  # it has no value, and is no zero
    assert judges["bad"]["judged"]["answer_relevancy"]["errors"] == {"truncated": 1}
    assert {stage: values for stage, values in metrics.items() if stage != ANSWER} == {
        stage: values for stage, values in before.items() if stage != ANSWER
    }
    assert folder.json(BY_QUERY)[ANSWER]["faithfulness"] == dict.fromkeys(ids, 0.75)
    assert write_judged(folder, []) == judges  # what was known of a judge stays known


def _calibrated(judge: str, share: float) -> Calibration:
    return calibration(judge, [Told(pair, (pair.label == SUPPORTED) if i % 10 < share * 10 else None)
                               for language in ("en", "zh") for i, pair in enumerate(pairs(20, language))])  # fmt: skip


def pairs(n: int, language: str = "en") -> list[Pair]:
    """Half of them supported; an even number of each."""
    return [
        Pair(f"s{i}", f"p{i}", SUPPORTED if i < n // 2 else CONTRADICTED, language, "number", "squad", "a")  # type: ignore[arg-type]
        for i in range(n)
    ]


def test_failed_judgements_of_one_judge_can_be_made_anew(tmp_path: Path) -> None:
    folder = plain(write_run(tmp_path / "run", Made(answers=True)))
    for each in (made("a", None), made("b", 1.0), Judgement("a", "faithfulness", "another", None, "timeout")):
        folder.append(each)
    assert forget_failed(folder, JUDGE) == 1
    assert [(each.query_id, each.judge) for each in folder.judgements()] == [("b", JUDGE), ("a", "another")]


def test_the_grounding_model_judges_each_answer_once(tmp_path: Path) -> None:
    folder = plain(write_run(tmp_path / "run", Made(answers=True)))
    calls: list[int] = []

    def check(asked: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        calls.append(len(asked))
        return np.tile(np.array([1.0, 0.0, 0.0], np.float32), (len(asked), 1))

    told: list[tuple[int, int, int]] = []
    ground_all(folder, check, "ground", 2, lambda *counts: told.append(counts))
    assert told == [(1, 2, 0), (2, 2, 0)]
    ground_all(folder, check, "ground", None, lambda *counts: told.append(counts))
    answers = [each for each in folder.answers() if each.found is not None and not each.found.abstained]
    assert len(calls) == len(answers) == told[-1][1]
    ground_all(folder, check, "ground", None, lambda *counts: None)
    assert len(calls) == len(answers)
    write_judged(folder, [])
    metrics = folder.json(METRICS_FILE)[ANSWER]
    assert metrics["groundedness"] == 1.0
    assert triad(metrics) == {"groundedness": ("groundedness", 1.0)}
    assert triad({"faithfulness": 0.5, "answer_relevancy": 0.25, "context_precision": 0.75}) == {
        "context_relevance": ("context_precision", 0.75),
        "groundedness": ("faithfulness", 0.5),
        "answer_relevance": ("answer_relevancy", 0.25),
    }


def test_a_run_without_answers_cannot_be_judged(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", Made())
    with pytest.raises(InvalidRequest, match="--answers"):
        write_judged(folder, [])


async def test_a_judge_is_fit_by_how_often_it_is_right_and_failures_are_wrong() -> None:
    cases = [*pairs(20), *pairs(20, "zh")]

    async def always_right(statement: str, passage: str) -> bool:
        return int(statement[1:]) < 10

    async def always_yes(statement: str, passage: str) -> bool:
        return True

    async def english_only(statement: str, passage: str) -> bool:
        if asked.pop(0).language == "zh":
            raise JudgementFailed("unparseable")
        return int(statement[1:]) < 10

    right = calibration("j", await ask_judge(cases, always_right, 4))
    assert (right.fit, right.figures.balanced_accuracy, right.figures.failed) == (True, 1.0, 0)
    yes = calibration("j", await ask_judge(cases, always_yes, 4))
    assert (yes.fit, yes.figures.balanced_accuracy, yes.figures.sensitivity) == (False, 0.5, 1.0)
    asked = list(cases)
    english = calibration("j", await ask_judge(cases, english_only, 1))
    assert (english.fit, english.figures.balanced_accuracy, english.figures.failed) == (False, 0.5, 20)
    assert english.figures.errors == {"unparseable": 20}
    assert english.fit_for(["en"])
    assert not english.fit_for(["en", "zh"])
    assert not english.fit_for(["fr"])
    assert english.right_by_source == {"squad/number": (10, 20), "squad/supported": (10, 20)}


async def test_a_calibration_ends_when_the_judge_is_away() -> None:
    async def away(statement: str, passage: str) -> bool:
        raise JudgementFailed("unreachable")

    with pytest.raises(Unavailable, match="start it"):
        await ask_judge(pairs(40), away, 4)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Simulated: a judge that is right with the chances 0.8 and 0.6, tried on 40 cases of each."""
    draws = np.random.default_rng(3)
    cases, inside = pairs(80), 0
    for _ in range(400):
        said = np.where(np.arange(80) < 40, draws.random(80) < 0.8, draws.random(80) >= 0.6)
        found = figures([Told(case, bool(each)) for case, each in zip(cases, said, strict=True)])
        inside += found.low <= 0.7 <= found.high
    assert 0.92 <= inside / 400 <= 0.98


def test_the_grounding_model_is_tried_on_the_same_cases() -> None:
    def check(asked: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        return np.array([[0.4, 0.3, 0.3] if int(s[1:]) < 5 else [0.4, 0.5, 0.1] for s, _ in asked], np.float32)

    found = calibration("ground", ask_grounding(pairs(20), check))
    assert (found.figures.sensitivity, found.figures.specificity) == (0.5, 1.0)


def test_a_calibration_is_read_as_it_was_written(tmp_path: Path) -> None:
    found = _calibrated("j", 0.8)
    write_calibration(tmp_path / "deep" / "calibration.json", found)
    assert read_calibration(tmp_path / "deep" / "calibration.json") == found
    with pytest.raises(InvalidRequest, match="calibrate"):
        read_calibration(tmp_path / "none.json")
    (tmp_path / "other.json").write_text('{"judge": 3}')
    with pytest.raises(InvalidRequest, match="no calibration"):
        read_calibration(tmp_path / "other.json")


def test_a_calibration_of_one_sort_of_statement_says_nothing() -> None:
    with pytest.raises(InvalidRequest, match="supported and unsupported"):
        calibration("j", [Told(pair, True) for pair in pairs(20)[:10]])
