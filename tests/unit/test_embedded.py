"""The model in process, with its real weights: stopping, queueing, and the folder that is made of its file."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from generation.abstain import Thresholds
from generation.answer import Answerer
from generation.embedded import EmbeddedModel, EmbeddedOptions
from generation.engine import Message
from generation.events import FinalAnswer, Usage
from generation.weights import loadable_folder
from retrieval.errors import ModelMissing, Overloaded, Unavailable
from retrieval.models import ModelFiles, read_model
from tests.passages import candidates, check_spans
from tests.requires import need

LONG = (Message("user", "Write a very long story about a ship."),)


@pytest.fixture(scope="module")
def model() -> Iterator[EmbeddedModel]:
    model = EmbeddedModel(read_model(need.model("smollm2-135m-instruct")), EmbeddedOptions(max_tokens=400, waiting=1))
    model.warm_up()
    yield model
    model.close()


async def first(pieces: AsyncGenerator[str | Usage, None]) -> str:
    piece = await anext(pieces)
    assert isinstance(piece, str)
    return piece


@pytest.mark.slow
async def test_a_reply_comes_in_pieces_and_its_tokens_are_counted(model: EmbeddedModel) -> None:
    ask = (Message("system", "Answer in one word."), Message("user", "What is the capital of France?"))
    pieces = [piece async for piece in model.stream(ask)]
    usage = pieces.pop()
    assert "Paris" in "".join(str(piece) for piece in pieces)
    assert isinstance(usage, Usage)
    assert usage.prompt_tokens > usage.completion_tokens >= len(pieces) > 1


@pytest.mark.slow
async def test_a_consumer_that_leaves_stops_the_generation(model: EmbeddedModel) -> None:
    before = model.tokens_written
    async with aclosing(model.stream(LONG)) as pieces:
        await first(pieces)
    # One reply at a time: that the next one begins shows that the thread is free again.
    async with aclosing(model.stream((Message("user", "Say yes."),))) as pieces:
        assert await first(pieces)
    assert model.tokens_written - before < 400


@pytest.mark.slow
async def test_more_than_may_wait_are_refused_and_a_place_left_is_free_again(model: EmbeddedModel) -> None:
    running = model.stream(LONG)
    await first(running)
    waiting = model.stream(LONG)
    second = asyncio.ensure_future(anext(waiting))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await anext(model.stream(LONG))
    await running.aclose()
    assert await second
    await waiting.aclose()


@pytest.mark.slow
async def test_an_answer_by_the_model_is_cited_and_can_be_closed(model: EmbeddedModel) -> None:
    shown = candidates("The harbour of Rotterdam is the largest harbour in Europe.", "Hamburg has a harbour too.")
    answerer = Answerer([model], thresholds=Thresholds({}))
    events = [event async for event in answerer.answer("Which harbour is the largest in Europe?", shown)]
    final = events[-1]
    assert isinstance(final, FinalAnswer)
    assert (final.engine, final.degraded) == ("smollm2-135m-instruct", ())
    assert final.answer  # whether a model this small is right is for an evaluation to say, not for a test
    check_spans(final.answer, final.citations, shown)


@pytest.mark.slow
async def test_a_model_that_is_shut_down_stops_its_reply_and_takes_no_more() -> None:
    model = EmbeddedModel(read_model(need.model("smollm2-135m-instruct")), EmbeddedOptions(max_tokens=4000))
    pieces = model.stream(LONG)
    await first(pieces)
    await asyncio.to_thread(model.close)
    with pytest.raises(Unavailable):
        async for _ in pieces:
            pass
    with pytest.raises(Unavailable):
        await anext(model.stream(LONG))


@pytest.mark.slow
def test_the_loadable_folder_is_made_once_and_whole(tmp_path: Path) -> None:
    source = need.model("smollm2-135m-instruct")
    folder = tmp_path / "model"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("float32-*", ".float32-*"))
    made = loadable_folder(read_model(folder))
    written = {path.name: path.stat().st_mtime_ns for path in made.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= written.keys()
    assert loadable_folder(read_model(folder)) == made
    assert {path.name: path.stat().st_mtime_ns for path in made.iterdir()} == written
    assert not list(folder.glob(".float32-*"))


def files_at(folder: Path) -> ModelFiles:
    return ModelFiles("m", folder, "generator", None, 8192, "none", "", "", ("en",), "0" * 16)


def test_a_folder_without_weights_is_a_missing_model(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="riddle models pull m"):
        loadable_folder(files_at(tmp_path))


def test_a_folder_of_safetensors_is_loaded_as_it_is(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).touch()
    assert loadable_folder(files_at(tmp_path)) == tmp_path


async def test_a_missing_model_is_an_error_of_the_stream_and_the_answer_is_quoted(tmp_path: Path) -> None:
    model = EmbeddedModel(files_at(tmp_path))
    with pytest.raises(ModelMissing):
        await anext(model.stream(LONG))
    assert await model.ready() != "ok"
    answerer = Answerer([model], thresholds=Thresholds({}))
    final = [event async for event in answerer.answer("Which ship?", candidates("The ship sailed."))][-1]
    assert isinstance(final, FinalAnswer)
    assert (final.engine, final.degraded) == ("extractive", ("generation",))
    model.close()


@pytest.mark.slow
def test_a_model_closed_while_it_loads_says_so() -> None:
    """A service that is told to stop in its first seconds ends without a traceback."""
    model = EmbeddedModel(read_model(need.model("smollm2-135m-instruct")))
    model.close()
    with pytest.raises(Unavailable, match="shut down"):
        model.warm_up()
