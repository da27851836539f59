"""`riddle eval judge` and `riddle eval calibrate` against a judge behind a socket: a scripted one, and a real vLLM."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eval.answer_metrics import PROMPTS
from eval.evaluate import ANSWER
from eval.judge import JudgeSettings
from eval.judge_calibration import FIT, known_cases
from eval.judging import GROUNDING_METRICS, METRICS, samples_of
from eval.runs import JUDGES, Judgement, RunFolder
from eval.runs import METRICS as METRICS_FILE
from services.cli import run
from services.judging import GROUNDING_MODEL
from services.settings import environment
from tests.judge_server import JudgeScript, judge_app
from tests.live import LiveServer, Stage, free_port, served
from tests.requires import ROOT, need
from tests.runs import Made, write_run
from tests.service.vllm_server import PATIENCE_S, shared_vllm

Riddle = Callable[..., Any]
Out = pytest.CaptureFixture[str]

ASKED = "faithfulness,context_recall"


@pytest.fixture(scope="module")
def stage() -> Iterator[tuple[Stage, LiveServer]]:
    stage = Stage()
    with served(stage) as server:
        yield stage, server


@pytest.fixture
def script(stage: tuple[Stage, LiveServer]) -> JudgeScript:
    script = JudgeScript()
    stage[0].app = judge_app(script)
    return script


@pytest.fixture
def url(stage: tuple[Stage, LiveServer], script: JudgeScript) -> str:
    return f"{stage[1].url}/v1"


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run with answers that nobody has judged."""
    folder = write_run(tmp_path / "run", Made(answers=True))
    folder.rewrite([], Judgement)
    return folder


@pytest.fixture
def riddle(tmp_path: Path, capsys: Out) -> Riddle:
    def called(*arguments: str | Path, code: int = 0) -> Any:
        words = ["eval", *map(str, arguments)]
        assert run(words) == code, capsys.readouterr()
        said = capsys.readouterr()
        return json.loads(said.out) if code == 0 and "--json" in words else said.out + said.err

    return called


def test_a_run_is_judged_once_and_told_with_its_judge(
    riddle: Riddle, folder: RunFolder, script: JudgeScript, url: str
) -> None:
    found = riddle("judge", folder.path, "--judge-url", url, "--metrics", ASKED, "--json")
    judge = JudgeSettings(url, "judge").id(PROMPTS)
    samples = samples_of(folder)
    wanted = sum(METRICS[metric].met(sample) for sample in samples for metric in ASKED.split(","))
    assert len(list(folder.judgements())) == wanted
    assert found["judges"] == folder.json(JUDGES)
    entry = found["judges"][judge]
    assert (entry["fit"], entry["metrics"], entry["balanced_accuracy"]) == (None, sorted(ASKED.split(",")), None)
    assert sum(figures["n"] for figures in entry["judged"].values()) == wanted
    assert folder.json(METRICS_FILE)[ANSWER] == found["metrics"]
    assert found["triad"]["groundedness"] == {"metric": "faithfulness", "value": found["metrics"]["faithfulness"]}
    asked = len(script.asked)
    again = riddle("judge", folder.path, "--judge-url", url, "--metrics", ASKED)
    assert len(script.asked) == asked
    assert "NOT CALIBRATED" in again
    riddle("judge", folder.path, "--judge-url", url, "--metrics", ASKED, "--repeats", "2")
    assert len(list(folder.judgements())) == 2 * wanted


def test_failed_judgements_are_shown_and_too_many_of_them_are_an_error(
    riddle: Riddle, folder: RunFolder, script: JudgeScript, url: str
) -> None:
    script.said = "I think so."
    said = riddle("judge", folder.path, "--judge-url", url, "--metrics", ASKED, code=1)
    made = list(folder.judgements())
    assert {each.error for each in made} == {"unparseable"}
    assert f"{len(made)} of {len(made)} judgements failed" in said
    assert "no judgement came" in said
    assert "faithfulness" not in folder.json(METRICS_FILE)[ANSWER]
    script.said = None
    riddle("judge", folder.path, "--judge-url", url, "--metrics", ASKED, code=1)  # they are not asked for again …
    assert list(folder.judgements()) == made
    riddle("judge", folder.path, "--judge-url", url, "--metrics", ASKED, "--retry-failed")  # … unless one says so
    assert all(each.value is not None for each in folder.judgements())
    assert len(list(folder.judgements())) == len(made)


def test_without_a_judge_what_needs_none_is_computed(riddle: Riddle, folder: RunFolder) -> None:
    found = riddle("judge", folder.path, "--json")
    assert found["judges"] == {}
    assert {"f1", "exact_match", "gold_contained", "evidence_shown", "statements_cited"} <= set(found["metrics"])
    assert "f1 " in riddle("judge", folder.path)


def test_judging_leaves_nothing_outside_the_run(folder: RunFolder, url: str, tmp_path: Path) -> None:
    """RAGAS' own client leaves an identifier below the user's home with its first reply."""
    user = tmp_path / "user"
    user.mkdir()
    surroundings = {name: value for name, value in environment().items() if not name.startswith("XDG_")}
    command = [sys.executable, "-m", "services.cli", "eval", "judge", str(folder.path), "--judge-url", url]
    subprocess.run(
        [*command, "--metrics", ASKED],
        cwd=ROOT,
        env=surroundings | {"HOME": str(user)},
        check=True,
        capture_output=True,
    )
    assert list(folder.judgements())
    assert list(user.rglob("*")) == []
    assert not [path for path in tmp_path.iterdir() if path not in (user, folder.path)]


def test_wrong_use_is_told_on_one_line(riddle: Riddle, folder: RunFolder, script: JudgeScript, url: str) -> None:
    def said(*more: str | Path, command: str = "judge") -> str:
        text: str = riddle(command, *([folder.path] if command == "judge" else []), *more, code=1)
        assert len(text.strip().splitlines()) == 1
        return text

    assert "no OpenAI-compatible judge" in said("--judge-url", f"http://127.0.0.1:{free_port()}/v1")
    assert "does not serve other; it lists judge" in said("--judge-url", url, "--judge-model", "other")
    assert "no such metric: truth" in said("--judge-url", url, "--metrics", "truth")
    assert "schema, json, text" in said("--judge-url", url, "--form", "xml")
    assert "http://" in said("--judge-url", "localhost")
    assert "calibrate" in said("--calibration", folder.path / "none.json")
    assert "--judge-url" in said(command="calibrate")
    script.models = ()
    assert "does not serve any model" in said("--judge-url", url)


@pytest.mark.slow
def test_a_judge_is_calibrated_on_both_languages_and_its_verdict_goes_with_its_figures(
    riddle: Riddle, folder: RunFolder, script: JudgeScript, url: str, tmp_path: Path
) -> None:
    root = need.data("scifact").parent
    cases = known_cases(root, 40)
    assert cases == known_cases(root, 40)
    assert {(each.source, each.label) for each in cases} == {
        (source, label) for source in ("scifact", "squad", "cmrc2018", "drcd") for label in (0, 1)
    }
    truth = {(each.statement, each.passage): 1 - each.label for each in cases}
    script.verdict = lambda statement, passage: truth.get((statement, passage), 1)
    out = tmp_path / "calibration.json"
    right = riddle("calibrate", "--judge-url", url, "--dataset-root", root, "--n", 40, "--out", out, "--json")
    assert (right["fit"], right["figures"]["balanced_accuracy"], right["figures"]["n"]) == (True, 1.0, 40)
    found = riddle("judge", folder.path, "--judge-url", url, "--metrics", ASKED, "--calibration", out, "--json")
    assert found["judges"][right["judge"]]["fit"] is True
    script.verdict = lambda statement, passage: 1
    said = riddle("calibrate", "--judge-url", url, "--dataset-root", root, "--n", 40, "--out", out)
    assert "UNFIT" in said
    assert "0.500" in said
    riddle("judge", folder.path, "--calibration", out)
    assert folder.json(JUDGES)[right["judge"]]["fit"] is False


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE_S + 300)
def test_a_real_model_judges_and_is_judged(
    riddle: Riddle, folder: RunFolder, pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    """SmolLM2 with 135 million parameters is no judge; what is tested is that the figures say what came."""
    server = shared_vllm(pytestconfig)
    sampling = ("--max-tokens", "200", "--concurrency", "16", "--temperature", "0.7")
    out = tmp_path / "calibration.json"
    root = need.data("scifact").parent
    asked = server.finished
    tried = riddle(
        "calibrate", "--judge-url", server.url, "--dataset-root", root, "--n", 16, "--out", out, "--json", *sampling
    )
    assert server.finished - asked == 16
    figures = tried["figures"]
    assert figures["n"] == 16
    assert figures["failed"] == sum(figures["errors"].values())
    assert tried["fit"] == all(each["balanced_accuracy"] >= FIT for each in tried["by_language"].values())
    arguments = (
        "judge",
        folder.path,
        "--judge-url",
        server.url,
        "--calibration",
        out,
        "--limit",
        "2",
        "--repeats",
        "2",
    )
    home = need.home("bge-small-en-v1.5")
    found = riddle(*arguments, "--most-failed", "1", "--json", "--home", home, *sampling)
    entry = found["judges"][tried["judge"]]
    assert entry["fit"] is (tried["by_language"]["en"]["balanced_accuracy"] >= FIT)
    made = list(folder.judgements())
    assert set(entry["judged"]) == {each.metric for each in made} == set(METRICS)
    for metric, judged in entry["judged"].items():
        of_it = [each for each in made if each.metric == metric]
        failed = [each.error for each in of_it if each.value is None]
        assert (judged["n"], judged["failed"]) == (len(of_it), len(failed))
        assert sum(judged["errors"].values()) == len(failed)
        assert judged["low"] <= judged["high"]
        assert (metric in found["metrics"]) == (len(failed) < len(of_it))


@pytest.mark.slow
def test_the_grounding_model_judges_a_run_and_is_calibrated_as_any_judge(
    riddle: Riddle, folder: RunFolder, tmp_path: Path
) -> None:
    root, home, out = need.data("scifact").parent, need.home(GROUNDING_MODEL), tmp_path / "calibration.json"
    tried = riddle(
        "calibrate", "--grounding", "--dataset-root", root, "--n", 80, "--out", out, "--json", "--home", home
    )
    found = riddle("judge", folder.path, "--grounding", "--calibration", out, "--json", "--home", home)
    entry = found["judges"][tried["judge"]]
    assert entry["metrics"] == sorted(GROUNDING_METRICS)
    assert entry["fit"] is (tried["by_language"]["en"]["balanced_accuracy"] >= FIT)
    assert found["triad"]["groundedness"]["metric"] == "groundedness"
