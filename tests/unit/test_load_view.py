"""What is shown of load tests and sweeps: read from the files that they leave, whatever else lies there."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from eval.frontier import Frontier, Row
from eval.load_report import Bound, LoadReport, RateResult, Verdict
from eval.load_view import load_dots, load_in, load_table, load_words
from eval.report import report
from eval.run_views import load_run
from eval.runs import LOAD
from eval.sweep_view import sweep_table, sweeps_in
from tests.runs import write_run


def rate(offered: float, p99: float, holds: bool) -> RateResult:
    times = {"n": 300, "mean": p99 / 3, "p50": p99 / 4, "p95": p99 / 2, "p99": p99, "max": p99}
    return RateResult(
        rate=offered, seconds=60.0, requests=300, warmup=10, failed=0, errors={}, throughput=offered,
        latency_ms=times, first_ms={}, stages_ms={}, hits=None, degraded={}, abstained=0, sent_ms={}, in_flight=0,
        verdict=Verdict(holds, holds, 0, 300),
    )  # fmt: skip


LOADED = LoadReport(
    rates=(rate(20.0, 400.0, False), rate(5.0, 90.0, True)), cold=True, answers=False, arrivals="poisson", primed=0,
    bound=Bound(200.0), holds=5.0, fails=20.0, notes=("the generator was late",),
)  # fmt: skip


def row(name: str, quality: float, as_good: bool, unbeaten: bool) -> Row:
    return Row(name, {"rank.depth": name}, quality, 50, 80, 0.1, 50, 0, 0, 0, unbeaten, 0.8 - quality, 0.01, as_good)


def test_a_load_test_is_told_by_the_rate_that_held() -> None:
    found = load_in(json.loads(json.dumps(asdict(LOADED))))
    assert found == LOADED
    assert "5 a second kept p99 within 200 ms, which is not sure" in load_words(LOADED)
    assert [(dot.series, dot.x) for dot in load_dots(LOADED)][:3] == [("p50", 5.0), ("p50", 20.0), ("p95", 5.0)]
    rows = load_table(LOADED).rows
    assert [line[0] for line in rows] == [5.0, 20.0]
    assert [line[-1] for line in rows] == ["held", "not held, not sure"]


def test_what_is_no_load_report_is_none() -> None:
    assert load_in(None) is None
    assert load_in({"rates": "many"}) is None


def test_the_report_draws_a_load_test(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    run.write_json(LOAD, asdict(LOADED))
    page = report([load_run(run)])
    assert "Latency by the rate of requests" in page
    assert "the generator was late" in page


def test_sweeps_are_found_with_what_they_recommend(tmp_path: Path) -> None:
    rows = (row("50", 0.8, True, True), row("20", 0.79, True, True), row("5", 0.6, False, False))
    found = Frontier("final:nDCG@10", 0.05, 200, rows, best="50", recommended="20", least=0.02)
    (tmp_path / "depths").mkdir()
    (tmp_path / "depths" / "frontier.json").write_text(json.dumps(found.as_json()))
    (tmp_path / "frontier.json").write_text('{"of": "something else"}')
    assert sweeps_in(tmp_path) == {"depths": found}
    assert sweeps_in(tmp_path / "depths") == {"depths": found}
    assert [line[-1] for line in sweep_table(found).rows] == ["best", "recommended", "significantly worse, beaten"]
