"""`riddle eval load` against a real gateway over fakes: what it counts is what was there to count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eval.load import Ask
from eval.runs import LOAD, TIMINGS, RunFolder
from retrieval.errors import GenerationFailed, Overloaded, Unavailable
from services.cli import run
from services.load_client import HTTPSender, load_client
from tests.service.conftest import Live

WORDS = ["passages", "results", "query", "package", "server", "install", "start", "words"]


@pytest.fixture
def queries(tmp_path: Path) -> Path:
    path = tmp_path / "queries.txt"
    path.write_text("\n".join(WORDS) + "\n\n", encoding="utf-8")
    return path


def load(live: Live, capsys: pytest.CaptureFixture[str], *options: str, expected: int = 0) -> Any:
    code = run(["eval", "load", "--url", live.server.url, "-c", "docs", *options])
    out, err = capsys.readouterr()
    assert code == expected, err
    return (json.loads(out) if "--json" in options else out) if expected == 0 else err


def test_a_cold_run_is_not_served_from_the_cache_and_is_kept_in_a_run_folder(
    live: Live, queries: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "runs" / "load"
    report = load(
        live, capsys, "--queries", str(queries), "--rate", "40", "--seconds", "1", "--warmup", "0.5",
        "--json", "-k", "3", "--out", str(out),
    )  # fmt: skip
    (rate,) = report["rates"]
    assert (rate["requests"], rate["warmup"], rate["failed"], rate["hits"]) == (40, 20, 0, 0.0)
    assert {"describe", "lexical", "rerank", "total"} <= set(rate["stages_ms"])
    assert rate["latency_ms"]["n"] == rate["stages_ms"]["total"]["n"] == 40
    asked = live.gateway.recall.asked
    assert len({(each.query, each.rrf_k) for each in asked[1:]}) == len(asked) - 1 == 60
    folder = RunFolder(out)
    manifest = folder.manifest()
    assert (manifest.finished, manifest.target["generation"], manifest.dataset["queries"]) == (
        True,
        "docs@1",
        len(WORDS),
    )
    assert manifest.settings["load"]["rate"] == 40
    assert folder.json(LOAD)["rates"] == report["rates"]
    assert folder.json(TIMINGS)["client"]["n"] == 40
    again = load(live, capsys, "--queries", str(queries), "--out", str(out), expected=1)
    assert "holds a run already" in again


def test_a_warm_run_is_served_from_the_cache_alone(
    live: Live, queries: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = load(
        live, capsys, "--queries", str(queries), "--warm", "--rate", "30", "--seconds", "1", "--warmup", "0", "--json"
    )
    assert (report["rates"][0]["hits"], report["primed"]) == (1.0, len(WORDS))
    assert len(live.gateway.recall.asked) == len(WORDS)
    text = load(live, capsys, "--queries", str(queries), "--warm", "--rate", "30", "--seconds", "1")
    assert "cache hits    100.0%" in text


def test_answers_have_first_words_and_say_when_there_was_nothing_to_say(
    live: Live, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text('{"_id": "1", "text": "server"}\n\n{"query": "zebra"}\n', encoding="utf-8")
    report = load(
        live, capsys, "--queries", str(path), "--answers", "--rate", "20", "--seconds", "1", "--warmup", "0", "--json"
    )
    (rate,) = report["rates"]
    assert (rate["requests"], rate["failed"], rate["abstained"], rate["hits"]) == (20, 0, 10, 0.0)
    assert rate["first_ms"]["n"] == 20
    assert {"search", "total"} <= set(rate["stages_ms"])


async def test_every_failure_is_told_by_its_kind(live: Live) -> None:
    def silent() -> None:
        """Nobody waits for first words here."""

    ask = Ask("server", 3)
    async with load_client(live.server.url, "rk_key") as http:
        searches = HTTPSender(http, "docs", answers=False)
        answers = HTTPSender(http, "docs", answers=True)
        live.gateway.rank.fail_with = Unavailable("gone")
        assert (await searches.send(ask, silent)).degraded == ("rerank",)
        live.gateway.recall.fail_with = Overloaded("full")
        assert (await searches.send(ask, silent)).error == "429 overloaded"
        assert (await answers.send(ask, silent)).error == "429 overloaded"
        live.gateway.recall.fail_with = None
        live.gateway.answerer.fail_after, live.gateway.answerer.failure = 1, GenerationFailed("broke off")
        first: list[None] = []
        assert (await answers.send(ask, lambda: first.append(None))).error == "answer generation_failed"
        assert len(first) == 1
        assert (await HTTPSender(http, "none", answers=False).send(ask, silent)).error == "404 collection_not_found"
    async with load_client("http://127.0.0.1:9", "") as nobody:
        assert (await HTTPSender(nobody, "docs", answers=False).send(ask, silent)).error == "ConnectError"


def test_a_bound_that_cannot_be_kept_is_said_before_anything_is_offered(
    live: Live, queries: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = load(live, capsys, "--queries", str(queries), "--find", "--p99", "0.1")
    assert "none of 10 requests kept the bound of 0.1 ms when it was alone" in text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "--queries FILE or --dataset DIR"),
        (["--queries", "{file}", "--dataset", "x"], "one of the two"),
        (["--queries", "{empty}"], "holds no query"),
        (["--queries", "{rows}"], "line 1: wants an object"),
    ],
)
def test_without_queries_there_is_no_load(
    live: Live, queries: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "rows.jsonl").write_text("[1]\n")
    places = {"{file}": queries, "{empty}": tmp_path / "empty.txt", "{rows}": tmp_path / "rows.jsonl"}
    given = [str(places.get(each, each)) for each in options]
    assert said in load(live, capsys, *given, expected=1)
    assert live.gateway.recall.asked == []
