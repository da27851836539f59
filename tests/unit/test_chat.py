"""The client of OpenAI-compatible servers, against a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import httpx
import pytest

from generation.abstain import Thresholds
from generation.answer import Answerer
from generation.chat import ChatOptions, ChatServer, sse_data
from generation.engine import Message
from generation.events import FinalAnswer, Usage
from retrieval.errors import GenerationFailed, Overloaded, RiddleError, Unavailable
from tests.chat_server import ChatScript, chat_app
from tests.live import LiveServer, Stage, free_port, served, wait_until
from tests.passages import candidates

ASKED = (Message("system", "Be brief."), Message("user", "你好?"))


@pytest.fixture(scope="module")
def stage() -> Iterator[tuple[Stage, LiveServer]]:
    stage = Stage()
    with served(stage) as server:
        yield stage, server


@pytest.fixture
def script(stage: tuple[Stage, LiveServer]) -> ChatScript:
    script = ChatScript()
    stage[0].app = chat_app(script)
    return script


@pytest.fixture
async def client(stage: tuple[Stage, LiveServer]) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"{stage[1].url}/v1", timeout=30) as client:
        yield client


async def reply(server: ChatServer) -> list[str | Usage]:
    return [piece async for piece in server.stream(ASKED)]


async def test_pieces_come_as_the_server_sends_them_and_usage_last(
    script: ChatScript, client: httpx.AsyncClient
) -> None:
    script.pieces = ("Hel", "", "lo ", "你", "好\n\ndata: x")
    assert await reply(ChatServer(client)) == ["Hel", "lo ", "你", "好\n\ndata: x", Usage(7, 5)]
    assert script.left == 0


async def test_the_request_is_what_openai_documents(script: ChatScript, client: httpx.AsyncClient) -> None:
    await reply(ChatServer(client, ChatOptions(model="mine", max_tokens=9)))
    assert script.asked == [
        {
            "model": "mine",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "你好?"}],
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": 0.0,
            "max_tokens": 9,
        }
    ]


async def test_without_a_model_the_first_that_the_server_lists_is_asked(
    script: ChatScript, client: httpx.AsyncClient
) -> None:
    server = ChatServer(client)
    await reply(server)
    assert script.asked[0]["model"] == server.name == "served"


async def test_a_server_without_models_is_unavailable(script: ChatScript, client: httpx.AsyncClient) -> None:
    script.models = ()
    with pytest.raises(Unavailable, match="RIDDLE_GENERATION_MODEL"):
        await reply(ChatServer(client))


@pytest.mark.parametrize(
    ("status", "kind"), [(429, Overloaded), (500, Unavailable), (503, Unavailable), (401, GenerationFailed)]
)
async def test_a_refusal_says_what_the_server_said(
    script: ChatScript, client: httpx.AsyncClient, status: int, kind: type[RiddleError]
) -> None:
    script.status = status
    with pytest.raises(kind, match=f"{status}: as the test wants it"):
        await reply(ChatServer(client, ChatOptions("m")))


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ('data: {"error": {"message": "out of memory", "code": 500}}\n\n', "out of memory"),
        ('data: {"error": "out of memory"}\n\n', "out of memory"),
        ("data: {nonsense\n\n", "no valid chunk"),
        ('data: {"choices": "nonsense"}\n\n', "no valid chunk"),
        ("data: []\n\n", "no valid chunk"),
    ],
)
async def test_an_error_inside_the_stream_is_an_error(
    script: ChatScript, client: httpx.AsyncClient, raw: str, said: str
) -> None:
    script.raw = raw
    with pytest.raises(GenerationFailed, match=said):
        await reply(ChatServer(client, ChatOptions("m")))


async def test_a_stream_that_ends_without_saying_so_was_cut(script: ChatScript, client: httpx.AsyncClient) -> None:
    script.ending = ""
    with pytest.raises(GenerationFailed, match="before the answer ended"):
        await reply(ChatServer(client, ChatOptions("m")))


async def test_nobody_there_is_unavailable_and_the_answer_is_quoted_instead() -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{free_port()}/v1", timeout=30) as client:
        server = ChatServer(client, ChatOptions("gone"))
        with pytest.raises(Unavailable, match="no generation server at"):
            await reply(server)
        assert "no generation server" in await ChatServer(client).ready()
        answerer = Answerer([server], thresholds=Thresholds({}))
        final = [event async for event in answerer.answer("Which ship sailed?", candidates("The ship sailed."))][-1]
    assert isinstance(final, FinalAnswer)
    assert (final.engine, final.degraded, final.answer) == ("extractive", ("generation",), "The ship sailed.")


async def test_a_server_is_ready_when_it_lists_its_models(script: ChatScript, client: httpx.AsyncClient) -> None:
    assert await ChatServer(client).ready() == "ok"


async def test_an_address_that_is_no_openai_server_is_told_so(stage: tuple[Stage, LiveServer]) -> None:
    stage[0].app = chat_app(ChatScript())
    async with httpx.AsyncClient(base_url=stage[1].url, timeout=30) as client:
        assert "404" in await ChatServer(client).ready()


async def test_a_consumer_that_leaves_is_seen_to_leave_by_the_server(
    script: ChatScript, client: httpx.AsyncClient
) -> None:
    script.pieces, script.delay_s = ["word "] * 100_000, 0.005
    async with aclosing(ChatServer(client).stream(ASKED)) as pieces:
        async for _ in pieces:
            break
    wait_until(lambda: script.left == 1)
    assert script.sent < 100_000


async def test_closing_an_answer_reaches_the_server(script: ChatScript, client: httpx.AsyncClient) -> None:
    script.pieces, script.delay_s = ["word "] * 100_000, 0.005
    answerer = Answerer([ChatServer(client)], thresholds=Thresholds({}))
    async with aclosing(answerer.answer("Which ship?", candidates("The ship sailed."))) as events:
        async for _ in events:
            break
    wait_until(lambda: script.left == 1)
    assert script.sent < 100_000


async def test_event_streams_are_read_as_the_standard_says() -> None:
    async def lines() -> AsyncIterator[str]:
        for line in [": comment", "event: x", "data: a", "data:b", "", "", "id: 1", "data:  c", "", "data: last"]:
            yield line

    assert [data async for data in sse_data(lines())] == ["a\nb", " c", "last"]


def test_tokens_are_estimated_on_the_high_side() -> None:
    server = ChatServer(httpx.AsyncClient(base_url="http://127.0.0.1:9/v1"))
    assert server.count("twelve chars") == 4
    assert server.count("你好") == 2
    assert server.count("") == 0
