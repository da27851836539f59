"""RAGAS' metrics through a judge behind a real socket: values, every way to fail, and what is sent."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from eval.answer_metrics import PROMPTS, RagasMetrics
from eval.judge import Judge, JudgementFailed, JudgeSettings
from eval.judging import METRICS, Sample
from retrieval.errors import InvalidRequest, Unavailable
from tests.judge_server import JudgeScript, judge_app
from tests.live import LiveServer, Stage, free_port, served

SAMPLE = Sample(
    "q1",
    "the wall is long?",
    "The wall is long. It was built by elves.",
    ("The wall is long. the wall is long", "Nothing of the kind.", "The wall is long"),
    "The wall is long.",
)


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
def settings(stage: tuple[Stage, LiveServer]) -> JudgeSettings:
    return JudgeSettings(f"{stage[1].url}/v1", "judge", retries=0)


@pytest.fixture
async def metrics(script: JudgeScript, settings: JudgeSettings) -> AsyncIterator[RagasMetrics]:
    async with Judge(settings) as judge:
        yield RagasMetrics(judge, _letters)


def _letters(texts: Sequence[str]) -> NDArray[np.float32]:
    """A vector of letter counts, so that equal texts are at cosine 1."""
    counts = np.array([[text.lower().count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts])
    vectors: NDArray[np.float32] = (counts / np.linalg.norm(counts, axis=1, keepdims=True)).astype(np.float32)
    return vectors


async def failure(metrics: RagasMetrics, metric: str = "faithfulness", sample: Sample = SAMPLE) -> str:
    with pytest.raises(JudgementFailed) as failed:
        await metrics(metric, sample)
    return failed.value.kind


async def test_each_metric_is_what_ragas_defines(metrics: RagasMetrics) -> None:
    assert await metrics("faithfulness", SAMPLE) == 0.5  # one of two sentences
    assert await metrics("context_precision", SAMPLE) == pytest.approx((1 + 2 / 3) / 2)  # average precision of 1, 0, 1
    assert await metrics("context_recall", SAMPLE) == 1.0
    assert await metrics("context_relevance", SAMPLE) == 1.0
    # Claims of the answer: 1 of 2 in the reference; those of the reference, question and all: 0 of 1 in the answer.
    assert await metrics("factual_correctness", SAMPLE) == 0.5
    nearness = float(_letters([SAMPLE.question])[0] @ _letters([f"What about {SAMPLE.answer}"])[0])
    assert await metrics("answer_relevancy", SAMPLE) == pytest.approx(nearness, abs=1e-6)


async def test_a_request_holds_the_judge_to_the_shape_and_carries_the_sampling(
    script: JudgeScript, settings: JudgeSettings
) -> None:
    async with Judge(JudgeSettings(settings.url, "judge", "secret", temperature=0.3, max_tokens=77)) as judge:
        await RagasMetrics(judge).supported("The wall is long.", "The wall is long.")
    (asked,) = script.asked
    assert (asked["model"], asked["temperature"], asked["max_tokens"]) == ("judge", 0.3, 77)
    assert script.headers[0]["authorization"] == "Bearer secret"
    schema = asked["response_format"]["json_schema"]["schema"]
    assert schema["$defs"]["StatementFaithfulnessAnswer"]["properties"]["verdict"]["enum"] == [0, 1]
    assert (schema["properties"]["statements"]["minItems"], schema["properties"]["statements"]["maxItems"]) == (1, 1)
    async with Judge(JudgeSettings(settings.url, "gpt-5-mini", form="json")) as judge:
        await RagasMetrics(judge).supported("a", "a")
    assert script.asked[1]["response_format"] == {"type": "json_object"}
    assert "temperature" not in script.asked[1]
    assert script.asked[1]["max_completion_tokens"] == 1024
    async with Judge(JudgeSettings(settings.url, "judge", form="text")) as judge:
        await RagasMetrics(judge).supported("a", "a")
    assert "response_format" not in script.asked[2]


async def test_a_judge_that_thinks_aloud_or_fences_its_json_is_understood(
    script: JudgeScript, metrics: RagasMetrics
) -> None:
    script.said = "<think>{is it so?}</think>Here you are:\n```json\n{}\n```"
    assert await metrics("faithfulness", SAMPLE) == 0.5


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"status": 500}, "http 500"),
        ({"status": 401}, "http 401"),
        ({"status": 429}, "http 429"),
        ({"said": "It is supported, I would say."}, "unparseable"),
        ({"said": "{'statements': []"}, "unparseable"),
        ({"said": '{"verdicts": [1]}'}, "unparseable"),
        ({"said": ""}, "unparseable"),
        ({"body": "<html>"}, "unparseable"),
        ({"body": '{"choices": []}'}, "unparseable"),
        ({"body": '"words"'}, "unparseable"),
        ({"finish": "length"}, "truncated"),
        ({"finish": "content_filter"}, "refused"),
        ({"refusal": "I would rather not."}, "refused"),
        ({"said": '{"statements": []}'}, "empty"),
    ],
    ids=str,
)
async def test_what_went_wrong_has_a_name(
    script: JudgeScript, metrics: RagasMetrics, change: dict[str, Any], kind: str
) -> None:
    for name, value in change.items():
        setattr(script, name, value)
    assert await failure(metrics) == kind


async def test_a_judge_that_hangs_or_is_away_is_a_failed_judgement(
    script: JudgeScript, settings: JudgeSettings
) -> None:
    script.hangs = True
    async with Judge(JudgeSettings(settings.url, "judge", timeout_s=0.2, retries=0)) as judge:
        assert await failure(RagasMetrics(judge)) == "timeout"
    async with Judge(JudgeSettings(f"http://127.0.0.1:{free_port()}/v1", "judge", retries=0)) as judge:
        assert await failure(RagasMetrics(judge)) == "unreachable"
        with pytest.raises(Unavailable, match="no OpenAI-compatible judge"):
            await judge.served()


async def test_a_busy_judge_is_asked_again_and_one_that_answered_badly_is_not(
    script: JudgeScript, settings: JudgeSettings
) -> None:
    script.status = 503
    async with Judge(JudgeSettings(settings.url, "judge", retries=1)) as judge:
        assert await failure(RagasMetrics(judge)) == "http 503"
        assert len(script.asked) == 2
        script.status, script.said = 200, "no JSON"
        assert await failure(RagasMetrics(judge)) == "unparseable"
    assert len(script.asked) == 3


def _with(**values: object) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda answer: answer | values


@pytest.mark.parametrize(
    ("metric", "alter", "kind"),
    [
        # Each of these RAGAS by itself turns into a number.
        ("answer_relevancy", _with(question=" "), "unparseable"),
        ("context_precision", _with(verdict=7), "unparseable"),
        ("context_relevance", _with(rating=3), "unparseable"),
        ("factual_correctness", lambda answer: answer | ({"claims": []} if "claims" in answer else {}), "empty"),
        ("context_recall", _with(classifications=[]), "empty"),
        (
            "faithfulness",
            lambda answer: {"statements": answer["statements"][:1]} if "verdict" in str(answer) else answer,
            "unparseable",
        ),
    ],
)
async def test_no_failure_passes_as_a_value(
    script: JudgeScript, metrics: RagasMetrics, metric: str, alter: Any, kind: str
) -> None:
    script.alter = alter
    assert await failure(metrics, metric) == kind


async def test_the_judge_lists_its_models_and_is_refused_by_its_status(
    script: JudgeScript, settings: JudgeSettings, stage: tuple[Stage, LiveServer]
) -> None:
    script.models = ("one", "two")
    async with Judge(settings) as judge:
        assert await judge.served() == ["one", "two"]
    async with Judge(JudgeSettings(stage[1].url, "judge", retries=0)) as judge:
        with pytest.raises(Unavailable, match="answered 404"):
            await judge.served()


def test_a_judges_id_changes_with_what_is_asked_and_tells_no_address() -> None:
    one = JudgeSettings("http://10.1.2.3:8000/v1", "m", api_key="secret")
    assert one.id(PROMPTS) == JudgeSettings("http://10.1.2.3:8000/v1/", "m", repeats=3).id(PROMPTS)
    others = [
        JudgeSettings(one.url, "m", temperature=1),
        JudgeSettings("http://b/v1", "m"),
        JudgeSettings(one.url, "n"),
    ]
    assert len({each.id(PROMPTS) for each in (one, *others)}) == 4
    assert "10.1.2.3" not in one.id(PROMPTS)
    assert PROMPTS.startswith("ragas-0.4")
    assert "secret" not in repr(one)
    with pytest.raises(InvalidRequest, match="http://"):
        JudgeSettings("localhost:8000", "m")
    with pytest.raises(InvalidRequest, match="above 0"):
        JudgeSettings("http://b", "m", repeats=0)


def test_every_metric_says_what_it_needs() -> None:
    refused = Sample("q", "why?", "", ("a passage",))
    assert [name for name, needs in METRICS.items() if needs.met(refused)] == ["context_relevance"]
    assert [name for name, needs in METRICS.items() if needs.met(SAMPLE)] == list(METRICS)
    assert [name for name, needs in METRICS.items() if needs.met(Sample("q", "why?", "so.", ()))] == [
        "answer_relevancy"
    ]


async def test_the_prompt_holds_what_was_shown(script: JudgeScript, metrics: RagasMetrics) -> None:
    sample = Sample("q", "长城多长？", "长城长21196千米。", ("据测量，长城长21196千米。",))
    assert await metrics("faithfulness", sample) == 1.0
    assert "据测量" in json.dumps(script.asked[-1], ensure_ascii=False)
