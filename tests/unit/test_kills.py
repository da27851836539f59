"""Processes killed at random points while they write, merge, build and publish, and the ledger that judges it."""

from __future__ import annotations

from pathlib import Path

import pytest

from eval.bench.kill_plan import content, marker, name, plan
from eval.bench.kills import KINDS, Ledger, run_kills

SEED = 5


def begun(*batches: int) -> Ledger:
    """A ledger to which all of these batches were acknowledged but the last."""
    ledger = Ledger(SEED)
    for batch in batches[:-1]:
        ledger.begin(batch, 16)
        ledger.acknowledge()
    ledger.begin(batches[-1], 16)
    return ledger


def test_a_batch_in_flight_may_be_there_or_not() -> None:
    ledger = begun(1, 2)
    before, after = dict(ledger.state), plan(SEED, 2, largest=16).applied(ledger.state)
    assert before != after
    assert ledger.judge(before) == ""
    assert begun(1, 2).judge(after) == ""
    assert ledger.judge(after) != "", "it was not there a moment ago, and nothing was under way since"


def test_half_a_batch_is_a_problem() -> None:
    ledger = begun(1, 2)
    planned = plan(SEED, 2, largest=16)
    assert len(planned.puts) > 1
    half = ledger.state | {name(planned.puts[0]): 2}
    assert "there and not acknowledged" in ledger.judge(half)


def test_a_lost_acknowledged_change_is_a_problem() -> None:
    ledger = begun(1, 2)
    ledger.acknowledge()
    lost = dict(ledger.state)
    del lost[name(plan(SEED, 2, largest=16).puts[0])]
    assert "acknowledged and not there" in ledger.judge(lost)


def test_what_was_replaced_or_removed_is_remembered() -> None:
    ledger = Ledger(SEED)
    for batch in range(30):
        ledger.begin(batch, 16)
        ledger.acknowledge()
    assert ledger.gone
    for batch, number in ledger.gone:
        assert ledger.state.get(name(number)) != batch


def test_each_version_of_a_document_has_a_word_of_its_own_in_every_passage() -> None:
    words = {marker(batch, number) for batch in range(40) for number in range(120)}
    assert len(words) == 40 * 120
    document, chunks, vectors = content(3, 7)
    assert len(vectors) == len(chunks)
    for chunk in chunks:
        assert marker(3, 7) in document.text[chunk.start : chunk.end]


@pytest.mark.slow
def test_ten_kills_lose_nothing_acknowledged_and_leave_no_half_batch(tmp_path: Path) -> None:
    report = run_kills(tmp_path, 10, SEED)
    assert report.problems == []
    assert report.count == 10
    assert {kind for kind, _ in report.kills} == set(KINDS)
    assert report.acknowledged > 0
