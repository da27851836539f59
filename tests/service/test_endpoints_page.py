"""docs/endpoints.md: every command on it works, and names each endpoint that there is."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from services.dialects import BY_PATH
from tests.live import LiveServer, Stage
from tests.processes import ROOT
from tests.service.conftest import Gateway

PAGE = (ROOT / "docs" / "endpoints.md").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Curl:
    """A request as a command line writes it."""

    path: str
    headers: tuple[tuple[str, str], ...]
    body: str | None


def commands() -> Iterator[Curl]:
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL):
        command, *words = shlex.split(block.replace("\\\n", " "))
        assert command == "curl"
        path, headers, body = "", [], None
        while words:
            word = words.pop(0)
            if word == "-H":
                name, _, value = words.pop(0).partition(": ")
                headers.append((name, value))
            elif word == "-d":
                body = words.pop(0)
            elif word == "-o":
                words.pop(0)
            elif word != "-s":
                path = word.removeprefix("localhost:8080")
        yield Curl(path, tuple(headers), body)


COMMANDS = list(commands())


@pytest.mark.parametrize("curl", COMMANDS, ids=lambda curl: curl.path)
def test_a_command_of_the_page_works(stage: tuple[Stage, LiveServer, httpx.Client], curl: Curl) -> None:
    on, _, http = stage
    on.app = Gateway().app
    body = curl.body
    if body is not None:
        body = body.replace("bge-small-en-v1.5", "fake-encoder").replace("ms-marco-minilm-l12-v2", "fake-reranker")
    method = "GET" if body is None else "POST"
    reply = http.request(method, curl.path, headers=list(curl.headers), content=body and body.encode())
    assert reply.status_code == 200, reply.text


def test_the_page_has_a_command_for_each_endpoint() -> None:
    assert {curl.path.removesuffix("/docs") for curl in COMMANDS} == {*BY_PATH, "/mcp"}
