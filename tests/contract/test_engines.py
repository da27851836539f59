"""What every answer engine promises, held to by each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

import httpx
import pytest

from generation.chat import ChatServer
from generation.embedded import EmbeddedModel
from generation.engine import Engine
from generation.events import Citation, Delta, Usage
from generation.extractive import Extractive
from generation.prompted import Prompted
from retrieval.models import read_model
from retrieval.types import Language
from tests.chat_server import ChatScript, chat_app
from tests.fake_engines import FakeEngine
from tests.live import served
from tests.passages import candidates, check_spans
from tests.requires import need

PIECES = ("Rotterdam is the lar", "gest harbour in Europe [1", "]. It has cranes.")
SHOWN = candidates(
    "The harbour of Rotterdam is the largest harbour in Europe. It has many cranes.", "Hamburg has a harbour too."
)
QUESTION = "Which harbour is the largest in Europe?"


@pytest.fixture(params=["extractive", "fake", "server", pytest.param("embedded", marks=pytest.mark.slow)])
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    if request.param == "extractive":
        yield Extractive()
    elif request.param == "fake":
        yield Prompted(FakeEngine(PIECES))
    elif request.param == "server":
        with served(chat_app(ChatScript(PIECES))) as server:
            async with httpx.AsyncClient(base_url=f"{server.url}/v1", timeout=30) as client:
                yield Prompted(ChatServer(client))
    else:
        model = EmbeddedModel(read_model(need.model("smollm2-135m-instruct")))
        model.warm_up()
        yield Prompted(model)
        model.close()


async def written(engine: Engine, language: Language = "en") -> list[Delta | Citation | Usage]:
    return [event async for event in engine.write(QUESTION, SHOWN, language)]


async def test_citations_point_into_the_text_sent_before_them_and_into_their_passages(engine: Engine) -> None:
    answer = ""
    citations = []
    for event in await written(engine):
        if isinstance(event, Delta):
            assert event.text
            answer += event.text
        elif isinstance(event, Citation):
            assert event.answer_span[1] <= len(answer)
            citations.append(event)
    assert answer
    check_spans(answer, citations, SHOWN)


async def test_the_same_question_gets_the_same_answer(engine: Engine) -> None:
    assert await written(engine) == await written(engine)


async def test_usage_is_reported_at_most_once(engine: Engine) -> None:
    assert sum(isinstance(event, Usage) for event in await written(engine)) <= 1


async def test_an_engine_can_be_left_and_asked_again(engine: Engine) -> None:
    async with aclosing(engine.write(QUESTION, SHOWN, "en")) as events:
        async for _ in events:
            break
    assert any(isinstance(event, Delta) for event in await written(engine))


async def test_no_candidates_give_no_error_about_them(engine: Engine) -> None:
    events = [event async for event in engine.write(QUESTION, [], "en")]
    assert not [event for event in events if isinstance(event, Citation)]


async def test_an_engine_says_its_name_its_languages_and_that_it_is_ready(engine: Engine) -> None:
    assert engine.name
    assert engine.languages
    assert await engine.ready() == "ok"
