"""From evidence to settings in force: what is adopted is written whole, and searches find it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eval.tuning import Asked
from ranking.tuned import TunedShelf, defaults, tuned_file
from services.settings import Settings
from services.tuning import CALIBRATES, Evidence, Kind, reset, weigh
from tests.unit.test_tuning import asked


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def evidence(lists: list[Asked], kind: Kind = "judgements") -> Evidence:
    return Evidence(kind, "judged.jsonl", tuple(lists), {})


def unlike_the_default(queries: int = 80) -> list[Asked]:
    """Only the words tell, which the default trusts less than the vectors."""
    return asked(queries, "lexical", 2.5)


def test_a_proven_gain_is_in_force_with_its_evidence_and_probabilities(settings: Settings) -> None:
    found = weigh(settings, "docs", evidence(unlike_the_default()), 0.05, write=True)
    assert found.verdict.adopted
    assert found.file == tuned_file(settings.home, "docs")
    tuned = TunedShelf(settings.home).of("docs")
    assert tuned.blend == found.verdict.blend
    assert tuned.blend.weights["lexical"] > defaults().blend.weights["lexical"]
    assert tuned.version != defaults().version
    assert tuned.evidence["queries"] == 80
    assert tuned.evidence["interval"][0] > 0
    assert tuned.calibration("rerank") != defaults().calibration("rerank")
    told = found.as_json()
    assert (told["adopted"], told["file"]) == (found.verdict.adopted, str(found.file))


def test_probabilities_keep_the_defaults_where_too_little_was_judged_to_fit_them(settings: Settings) -> None:
    few = unlike_the_default(CALIBRATES - 1)
    found = weigh(settings, "docs", evidence(few), 0.5, write=True)
    assert found.verdict.adopted
    assert TunedShelf(settings.home).of("docs").calibrations == defaults().calibrations


def test_a_trial_run_writes_nothing(settings: Settings) -> None:
    found = weigh(settings, "docs", evidence(unlike_the_default()), 0.05, write=False)
    assert found.verdict.adopted
    assert found.file is None
    assert TunedShelf(settings.home).of("docs") is defaults()


def test_what_a_collection_says_of_itself_is_shown_and_never_in_force(settings: Settings) -> None:
    found = weigh(settings, "docs", evidence(unlike_the_default(), "collection"), 0.05, write=True)
    assert "lexical alone" in found.verdict.reason
    assert (found.verdict.adopted, found.file) == ("", None)
    assert not tuned_file(settings.home, "docs").exists()


def test_what_is_in_force_stays_when_nothing_better_is_proven(settings: Settings) -> None:
    weigh(settings, "docs", evidence(unlike_the_default()), 0.05, write=True)
    before = TunedShelf(settings.home).of("docs")
    found = weigh(settings, "docs", evidence(asked(40, None, seed=1)), 0.05, write=True)
    assert found.verdict.adopted == ""
    assert "in force" in {each.name for each in found.verdict.trials}
    assert TunedShelf(settings.home).of("docs") == before
    assert reset(settings, "docs")
    assert not reset(settings, "docs")


def test_queries_that_found_nothing_are_no_hindrance(settings: Settings) -> None:
    lists = unlike_the_default(60)
    empty = replace(lists[0], query_id="empty", documents=(), table=replace(lists[0].table, scores=np.empty((0, 4))))
    assert weigh(settings, "docs", evidence([*lists, empty]), 0.05, write=True).verdict.queries == 61
