"""A sweep tries every combination once, side by side but never one index twice at a time, and goes on where it was."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from eval.frontier import Measured, Prices, frontier, measure
from eval.runs import AnswerRecord
from eval.statistics import sign_flip
from eval.sweep import MOST_POINTS, Point, Progress, axes_of, carry_out, grid
from eval.targets import Answered
from indexing.chunking import ChunkSettings
from retrieval.errors import InvalidRequest, RiddleError, SettingsError
from services.commands.eval_sweep import carry_out_sweep
from services.evaluation import assigned
from services.settings import Settings, known, load
from services.sweeping import Asked, ChildRunner, check, keep_asked, read_grid, recommended_toml, write_outcome
from tests.simulated_runs import manifest, results, world, write

AT = world(60, 1)


class FakeRunner:
    """Writes a simulated run for each point; ``before`` is called with it and may raise or wait."""

    def __init__(self, out: Path, before: Callable[[Point], None] = lambda point: None, whole: bool = True) -> None:
        self._out, self._before, self._whole = out, before, whole
        self.ran: list[Point] = []
        self.stopped = threading.Event()

    def __call__(self, point: Point) -> None:
        self.ran.append(point)
        self._before(point)
        told = dict(point.settings)
        depth = int(told.get("rank.depth", 20))
        run = results(AT, depth, worse=2.0 if depth < 10 else 0.0, slower={"rerank": depth / 20})
        write(replace(run, manifest=manifest(point.name, finished=self._whole)), self._out / point.name)

    def stop(self) -> None:
        self.stopped.set()


def test_a_grid_is_every_combination_and_each_has_a_name_of_its_own() -> None:
    points = grid(axes_of(["rank.depth=10,20", "models.reranker=,ms marco/x"]))
    assert [dict(point.settings)["rank.depth"] for point in points] == ["10", "10", "20", "20"]
    assert points[0].name == "rank.depth=10,models.reranker="
    assert "/" not in points[1].name
    assert len({point.name for point in points}) == 4
    long = [Point((("models.reranker", "x" * 300 + end),)) for end in "ab"]
    assert long[0].name != long[1].name
    assert len(long[0].name) < 100


@pytest.mark.parametrize(
    ("sets", "why"),
    [
        (["rank.depth"], "wants KEY=V1,V2"),
        (["rank.depth=1", "rank.depth=2"], "named twice"),
        (["rank.depth=1,1"], "a value twice"),
        ([], "nothing to try"),
        ([f"a={','.join(map(str, range(40)))}", f"b={','.join(map(str, range(40)))}"], f"more than {MOST_POINTS}"),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(sets: Sequence[str], why: str) -> None:
    with pytest.raises(InvalidRequest, match=why):
        grid(axes_of(sets))


def test_what_is_finished_is_not_run_again_and_what_failed_is(tmp_path: Path) -> None:
    points = grid(axes_of(["rank.depth=5,10,20,30"]))

    def fail_once(point: Point) -> None:
        if point == points[2]:
            raise RiddleError("the machine is on fire")

    first, second = FakeRunner(tmp_path, fail_once), FakeRunner(tmp_path)
    assert carry_out(points, tmp_path, first) == {points[2]: "the machine is on fire"}
    assert set(first.ran) == set(points)
    assert carry_out(points, tmp_path, second) == {}
    assert second.ran == [points[2]]


def test_a_run_that_ends_unfinished_has_failed(tmp_path: Path) -> None:
    points = grid({"rank.depth": ["10"]})
    failed = carry_out(points, tmp_path, FakeRunner(tmp_path, whole=False))
    assert "without a finished run" in failed[points[0]]


def test_points_of_one_index_wait_for_the_first_and_then_run_side_by_side(tmp_path: Path) -> None:
    points = grid(axes_of(["chunk.target_tokens=100,200", "rank.depth=10,20,30"]))
    lock, met = threading.Lock(), threading.Barrier(2, timeout=60)
    begun: list[Point] = []
    built: set[object] = set()

    def run(point: Point) -> None:
        with lock:
            first = point.index not in {each.index for each in begun}
            begun.append(point)
        if first:
            built.add(point.index)
        else:
            assert point.index in built
            met.wait()  # two that build nothing run at the same time, or this breaks

    assert carry_out(points, tmp_path, FakeRunner(tmp_path, run), jobs=2) == {}
    assert {point.index for point in begun[:2]} == {point.index for point in points}


def test_when_the_first_of_an_index_fails_the_next_builds_it_alone(tmp_path: Path) -> None:
    points = grid(axes_of(["chunk.target_tokens=100", "rank.depth=10,20,30"]))
    seen: list[int] = []
    running = 0

    def note(point: Point) -> None:
        nonlocal running
        running += 1
        seen.append(running)
        running -= 1
        if point == points[0]:
            raise RiddleError("no")

    assert list(carry_out(points, tmp_path, FakeRunner(tmp_path, note), jobs=3)) == [points[0]]
    assert seen[:2] == [1, 1]


def test_points_over_a_collection_that_is_there_do_not_wait_for_each_other(tmp_path: Path) -> None:
    met = threading.Barrier(3, timeout=60)
    points = grid(axes_of(["rank.depth=10,20,30"]))
    runner = FakeRunner(tmp_path, lambda point: [met.wait()].clear())
    assert carry_out(points, tmp_path, runner, jobs=3, indexed=True) == {}


def test_an_interrupt_stops_what_runs(tmp_path: Path) -> None:
    def wait_for_stop(point: Point) -> None:
        assert runner.stopped.wait(60)

    def interrupt(progress: Progress) -> None:
        if progress.running:
            raise KeyboardInterrupt

    runner = FakeRunner(tmp_path, wait_for_stop)
    with pytest.raises(KeyboardInterrupt):
        carry_out(grid(axes_of(["rank.depth=10,20,30", "recall.depth=50"])), tmp_path, runner, say=interrupt)
    assert runner.stopped.is_set()
    assert len(runner.ran) <= 1


def test_progress_tells_the_time_left(tmp_path: Path) -> None:
    now = [0.0]

    def take_ten_seconds(point: Point) -> None:
        now[0] += 10

    told: list[Progress] = []
    points = grid(axes_of(["rank.depth=10,20,30"]))
    carry_out(points, tmp_path, FakeRunner(tmp_path, take_ten_seconds), 1, say=told.append, clock=lambda: now[0])
    assert [each.left_s for each in told if each.said.startswith("finished")] == [20, 10, 0]
    assert told[0].left_s is None
    assert (told[-1].done, told[-1].total, told[-1].failed) == (3, 3, 0)


def test_the_settings_that_decide_an_index_are_those_that_name_a_collection() -> None:
    from services.evaluation import _collection_name

    usual = load(None, {}).settings
    changed = {int: "3", float: "0.5", str: "other", bool: "true"}
    compared = 0
    for key, setting in known().items():
        section, _, name = key.rpartition(".")
        valid = {"chunk.max_tokens": "400", "chunk.target_tokens": "100", "build.late_bits": "4"}
        value = valid.get(key) or changed.get(setting.type)
        if section not in ("models", "build", "chunk", "recall", "rank", "answer") or value is None:
            continue
        if name == "near_duplicates":
            value = "0.5"
        # How token vectors are kept decides something only where there are any.
        beside = ["build.late=model"] if name == "late_bits" else []
        before: Settings = load(None, {}, assigned(beside)).settings if beside else usual
        other: Settings = load(None, {}, assigned([*beside, f"{key}={value}"])).settings
        own = _collection_name("s", "d", before) != _collection_name("s", "d", other)
        assert bool(Point(((key, value),)).index) == own, key
        compared += 1
    assert compared > len(fields(ChunkSettings)) + 8


def measured(name: str, values: Sequence[float], p95: float, cost: float) -> Measured:
    by_query = {f"q{place}": value for place, value in enumerate(values)}
    mean = sum(values) / len(values)
    return Measured(Point((("rank.depth", name),)), mean, by_query, p95 / 2, p95, cost, 0, 0, cost, 0)


def test_the_cheapest_that_is_not_significantly_worse_is_recommended() -> None:
    best = [1.0] * 30 + [0.0] * 10
    slightly, much = [1.0] * 29 + [0.0] * 11, [1.0] * 15 + [0.0] * 25
    found = frontier(
        [
            measured("50", best, 100, 5),
            measured("20", slightly, 60, 2),
            measured("10", much, 30, 1),
            measured("60", slightly, 120, 6),
        ],
        "final:nDCG@10",
    )
    assert (found.best, found.recommended) == ("rank.depth=50", "rank.depth=20")
    assert [row.unbeaten for row in found.rows] == [True, True, True, False]
    assert [row.as_good for row in found.rows] == [True, True, False, True]
    assert found.rows[2].p == pytest.approx(3 * sign_flip(np.subtract(best, much))[0])
    assert [choice.best for choice in found.choices()] == [True, True, True, False]
    text = recommended_toml(found, Asked("scifact"))
    assert "not significantly below" in text
    assert "rank.depth=50" in text


def test_a_best_point_without_rivals_is_recommended_and_says_so() -> None:
    good, bad = [1.0] * 40, [0.0] * 40
    found = frontier([measured("50", good, 100, 5), measured("10", bad, 30, 1)], "final:nDCG@10")
    assert found.recommended == "rank.depth=50"
    assert "each is significantly worse" in recommended_toml(found, Asked("scifact"))


def test_a_frontier_of_nothing_or_of_other_questions_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="no point is finished"):
        frontier([], "final:nDCG@10")
    other = replace(measured("20", [1.0], 1, 1), values={"another": 1.0})
    with pytest.raises(InvalidRequest, match="no query in common"):
        frontier([measured("10", [1.0], 1, 1), other], "final:nDCG@10")


def test_a_point_is_measured_from_its_run(tmp_path: Path) -> None:
    run = results(AT, 3)
    folder = write(run, tmp_path / "run")
    answered = Answered("", False, (), (), {}, usage={"prompt_tokens": 600, "completion_tokens": 60})
    for query_id in run.questions:
        folder.append(AnswerRecord(query_id, answered))
    point = Point((("rank.depth", "20"),))
    found = measure(point, folder.path, "final:nDCG@10", Prices(3.6, 2.0, 10.0))
    values = run.by_query["final"]["nDCG@10"]
    assert found.quality == pytest.approx(sum(values.values()) / 60)
    assert found.machine_s == pytest.approx(sum(run.times["client"].values()) / 60)
    assert (found.prompt_tokens, found.completion_tokens) == (600_000, 60_000)
    assert found.cost == pytest.approx(found.machine_s * 0.001 + 1.2 + 0.6)
    assert measure(point, folder.path, "nDCG@10", Prices()).quality == found.quality
    with pytest.raises(InvalidRequest, match=r"no final:AP; it has final:nDCG@10"):
        measure(point, folder.path, "AP", Prices())


def test_a_whole_sweep_ends_in_a_frontier_a_plot_and_settings_that_load(tmp_path: Path) -> None:
    out, asked = tmp_path / "sweep", Asked("here", home=tmp_path)
    axes = axes_of(["rank.depth=5,20,80", "models.reranker=ms-marco-minilm-l12-v2"])

    def fail(point: Point) -> None:
        if ("rank.depth", "80") in point.settings:
            raise RiddleError("out of memory")

    found, failed, notes = carry_out_sweep(asked, axes, out, FakeRunner(out, fail), 2, "final:nDCG@10", 0.05, Prices())
    assert found.recommended.startswith("rank.depth=20")
    assert list(failed.values()) == ["out of memory"]
    assert "side by side" in notes[0]
    told = json.loads((out / "frontier.json").read_text())
    assert [row["settings"]["rank.depth"] for row in told["rows"]] == ["5", "20"]
    assert told["recommended"] == found.recommended
    assert (out / "frontier.svg").read_text().startswith('<svg xmlns="http://www.w3.org/2000/svg"')
    settings = load(out / "recommended.toml", {}).settings
    assert settings.rank.depth == 20
    assert settings.models.reranker == "ms-marco-minilm-l12-v2"


def test_settings_of_every_kind_come_back_from_the_recommended_file(tmp_path: Path) -> None:
    chosen = {
        "default_collection": 'a "quoted" name',
        "rank.depth": "0",
        "recall.lexical_weight": "0.5",
        "answer.abstain": "false",
        "models.reranker": "",
        "models.encoder": "多语言\\e5",
    }
    one = replace(measured("1", [1.0] * 9, 1, 1), point=Point(tuple(chosen.items())))
    write_outcome(tmp_path, frontier([one], "final:nDCG@10"), Asked("here"), {}, 1)
    settings = load(tmp_path / "recommended.toml", {}).settings
    assert settings.default_collection == 'a "quoted" name'
    assert (settings.rank.depth, settings.recall.lexical_weight, settings.answer.abstain) == (0, 0.5, False)
    assert (settings.models.reranker, settings.models.encoder) == ("", "多语言\\e5")


def test_a_grid_file_may_name_sections_or_dotted_keys(tmp_path: Path) -> None:
    path = tmp_path / "grid.toml"
    path.write_text(
        '"recall.depth" = [50, 100]\n[rank]\ndepth = 20\n[answer]\nabstain = [true, false]\n', encoding="utf-8"
    )
    assert read_grid(path) == {
        "recall.depth": ["50", "100"],
        "rank.depth": ["20"],
        "answer.abstain": ["true", "false"],
    }
    path.write_text("[rank]\ndepht = [1]\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"rank.depht.*rank\.depth"):
        read_grid(path)
    path.write_text("[rank", encoding="utf-8")
    with pytest.raises(SettingsError, match="cannot read the grid"):
        read_grid(path)


def test_settings_that_cannot_be_are_found_before_anything_runs(tmp_path: Path) -> None:
    for bad in ("rank.depht=1", "rank.depth=-1", "rank.depth=many"):
        with pytest.raises(SettingsError, match=r"rank\.dep"):
            check(grid(axes_of([bad])), Asked("here", home=tmp_path))


def test_a_folder_holds_one_sweep(tmp_path: Path) -> None:
    keep_asked(tmp_path, Asked("here", limit=5))
    keep_asked(tmp_path, Asked("here", limit=5))
    with pytest.raises(RiddleError, match="other arguments"):
        keep_asked(tmp_path, Asked("here", limit=6))


def test_a_point_becomes_an_argument_list(tmp_path: Path) -> None:
    asked = Asked("sets/x", "dev", 30, home=tmp_path, answers=True)
    point = Point((("rank.depth", "20"), ("server.default_k", "5")))
    command = ChildRunner(asked, tmp_path).command(point)
    words = command[command.index("eval") :]
    assert words[:4] == ["eval", "run", "--out", str(tmp_path / point.name)]
    told = " ".join(words)
    assert "--dataset sets/x --split dev --limit 30" in told
    assert told.endswith("--answers --set rank.depth=20 --set server.default_k=5 -k 5")


def test_a_child_that_fails_says_why_in_one_line_and_keeps_its_log(tmp_path: Path) -> None:
    runner = ChildRunner(Asked(str(tmp_path / "nowhere"), home=tmp_path), tmp_path)
    point = Point((("rank.depth", "20"),))
    with pytest.raises(RiddleError, match="nowhere"):
        runner(point)
    assert "riddle: " in runner.log(point).read_text()
    runner.stop()
    with pytest.raises(RiddleError, match="broken off"):
        runner(point)
