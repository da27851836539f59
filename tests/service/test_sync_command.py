"""`riddle sync` as people and scripts run it, and the web client that it hands to connectors."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from typer.testing import CliRunner

from indexing.sources import Rejected
from indexing.sync import SyncSummary
from retrieval.errors import SourceUnreadable, Unavailable
from services.cli import build_app
from services.cli import run as run_command
from services.commands.sync import _print
from services.pages import HttpWeb
from tests.live import served


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such file or folder"),
        (["nowhere", "--kind", "folder"], "nowhere: no such folder"),
        ([".", "--kind", "ftp"], "no kind of source is called 'ftp'; there are folder, git, sitemap, urls"),
        ([".", "--acl", "group:eng"], "cannot read the access rule 'group:eng'"),
        ([".", "--kind", "folder", "--collection", "Bad Name"], "is no name for a collection"),
    ],
)
def test_what_cannot_be_synced_is_one_line_and_exit_code_1(
    tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["sync", "--home", str(tmp_path), *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_help_has_an_example_and_no_source_is_a_usage_error() -> None:
    runner = CliRunner()
    assert "Example: riddle sync" in runner.invoke(build_app(), ["sync", "--help"]).output
    assert runner.invoke(build_app(), ["sync"]).exit_code == 2


def test_the_summary_names_what_was_set_aside_and_what_stays_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    rejected, failed = [Rejected("a.pdf", "broken")], [Rejected("https://docs.test/b", "does not answer")]
    _print(SyncSummary(1, 2, 3, 4000, 0.5, "docs@2.0", rejected, 1, failed, 1))
    out, err = capsys.readouterr()
    assert out == "1 added, 2 changed, 3 deleted, 4,000 unchanged, 1 rejected, 1 failed, 0.5 s, generation docs@2.0\n"
    assert err.splitlines() == [
        "  set aside: a.pdf: broken",
        "  left as it was: https://docs.test/b: does not answer",
    ]


async def page(request: Request) -> Response:
    if request.headers.get("if-none-match") == "tag":
        return Response(status_code=304)
    assert request.headers["user-agent"].startswith("riddle/")
    return PlainTextResponse("Words.", headers={"ETag": "tag"})


async def moved(request: Request) -> Response:
    return RedirectResponse(request.url_for("page"))


async def circle(request: Request) -> Response:
    return RedirectResponse(request.url)


async def large(request: Request) -> Response:
    return PlainTextResponse("x" * 5000)


def test_pages_are_got_with_redirections_conditions_and_limits() -> None:
    app = Starlette(routes=[Route(f"/{each.__name__}", each) for each in (page, moved, circle, large)])
    with served(app) as server:
        web = HttpWeb(max_bytes=4000)
        reply = web.get(f"{server.url}/moved", {})
        assert (reply.status, reply.body, reply.headers["etag"]) == (200, b"Words.", "tag")
        assert web.get(f"{server.url}/page", {"If-None-Match": "tag"}).status == 304
        assert web.get(f"{server.url}/nowhere", {}).status == 404
        with pytest.raises(SourceUnreadable, match="more than"):
            web.get(f"{server.url}/large", {})
        with pytest.raises(Unavailable, match="TooManyRedirects"):
            web.get(f"{server.url}/circle", {})
        web.close()
    with pytest.raises(Unavailable, match="does not answer"):
        HttpWeb(timeout_s=2).get(server.url, {})
