"""Every failure is a problem with a code, a status and a way out, and never a traceback."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator

import httpx
import pytest

from retrieval import errors
from retrieval.errors import IndexUnreadable, Overloaded, RiddleError, Unavailable
from services.http import STATUS, Problem
from tests.live import wait_until
from tests.service.conftest import Live

JSON = {"Content-Type": "application/json"}


def problem(reply: httpx.Response, status: int, code: str) -> Problem:
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    found = Problem.model_validate_json(reply.content)
    assert (found.status, found.code) == (status, code)
    assert found.type == f"/problems/{code}"
    assert found.instance == f"/requests/{reply.headers['x-request-id']}"
    assert "Traceback" not in reply.text
    return found


def every_error() -> Iterator[type[RiddleError]]:
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, RiddleError):
            yield kind


def test_every_error_that_we_raise_has_a_status() -> None:
    assert {kind.code for kind in every_error()} <= set(STATUS)


def test_unknown_collections_and_documents_are_not_found(live: Live) -> None:
    assert "nowhere" in problem(live.search("x", collection="nowhere"), 404, "collection_not_found").detail
    problem(live.http.get("/v1/collections/nowhere"), 404, "collection_not_found")
    problem(live.http.delete("/v1/collections/nowhere"), 404, "collection_not_found")
    problem(live.http.get("/v1/collections/docs/documents/no/such.md"), 404, "document_not_found")


def test_paths_and_methods_that_do_not_exist_are_problems_too(live: Live) -> None:
    problem(live.http.get("/v2/search"), 404, "not_found")
    problem(live.http.get("/v1/search"), 405, "method_not_allowed")
    problem(live.http.post("/v2/search", content=b"{"), 404, "not_found")


@pytest.mark.parametrize(
    ("k", "what"), [(0, "greater than or equal to 1"), (10_000, "at most 50"), ("many", "integer")]
)
def test_a_k_out_of_range_names_the_field_and_the_limit(live: Live, k: object, what: str) -> None:
    detail = problem(live.search("x", k=k), 422, "invalid_request").detail
    assert detail.startswith("k: ")
    assert what in detail


@pytest.mark.parametrize("query", ["", " \t\n", None, 7, ["x"]])
def test_a_query_that_is_none_is_refused(live: Live, query: object) -> None:
    reply = live.http.post("/v1/search", json={"query": query})
    assert problem(reply, 422, "invalid_request").detail.startswith("query: ")


def test_a_query_over_the_limit_names_the_limit(live: Live) -> None:
    assert "at most 200" in problem(live.search("x" * 201), 422, "invalid_request").detail
    assert live.search("x" * 200).status_code == 200


def test_an_unknown_field_is_named(live: Live) -> None:
    found = problem(live.search("x", filter={"type": "eq"}, rank="y"), 422, "invalid_request")
    assert "filter: unknown field" in found.detail
    assert found.errors is not None
    assert {each.field for each in found.errors} == {"filter", "rank"}


def test_a_megabyte_of_query_is_refused_by_its_declared_length(live: Live) -> None:
    assert "10,000 bytes" in problem(live.search("x" * (1 << 20)), 413, "too_large").detail


def test_a_body_over_the_limit_is_refused_while_it_streams(live: Live) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield b'{"query": "'
        while sent < 64 << 20:
            sent += 1 << 16
            yield b"x" * (1 << 16)

    # The server answers and hangs up: a client that goes on sending may see either.
    try:
        reply = live.http.post("/v1/search", content=endless(), headers=JSON)
    except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
        pass
    else:
        problem(reply, 413, "too_large")
    assert sent < 64 << 20
    assert live.search("x").status_code == 200


def test_a_chunked_body_over_the_limit_is_answered_before_it_ends(live: Live) -> None:
    with socket.create_connection(("127.0.0.1", live.server.port), timeout=60) as raw:
        raw.sendall(
            b"POST /v1/search HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n" + b"2ee0\r\n" + b"x" * 12_000 + b"\r\n"
        )
        assert raw.recv(1 << 16).startswith(b"HTTP/1.1 413")


def test_the_limit_holds_for_each_path_and_uploads_have_their_own(live: Live) -> None:
    problem(live.http.post("/v1/jobs", content=b"x" * 50_000), 404, "not_found")
    problem(live.http.post("/v1/jobs", content=b"x" * 200_000), 413, "too_large")
    problem(live.http.post("/v1/jobs/x", content=b"x" * 50_000), 413, "too_large")


@pytest.mark.parametrize(
    "body",
    [b'{"query": "\xff\xfe"}', b"{", b"", b'{"query": "x"} y', b"[" * 5000, b'{"query": NaN}', b"\x00"],
    ids=["invalid UTF-8", "cut", "empty", "trailing", "deep", "NaN", "nul"],
)
def test_bytes_that_are_no_request_are_a_clear_error(live: Live, body: bytes) -> None:
    reply = live.http.post("/v1/search", content=body, headers=JSON)
    assert reply.status_code in (400, 422)
    problem(reply, reply.status_code, "bad_syntax" if reply.status_code == 400 else "invalid_request")


def test_a_lone_surrogate_in_a_query_or_a_field_name_breaks_nothing(live: Live) -> None:
    for body in (b'{"query": "\\ud800"}', b'{"query": "x", "\\ud800": 1}', b'{"query": "x", "cursor": "\\ud800"}'):
        problem(live.http.post("/v1/search", content=body, headers=JSON), 422, "invalid_request")


def test_a_body_that_is_not_json_says_what_to_send(live: Live) -> None:
    for headers in ({"Content-Type": "text/plain"}, {}):
        reply = live.http.post("/v1/search", content=b'{"query": "x"}', headers=headers)
        assert "application/json" in problem(reply, 415, "unsupported_media_type").detail


def test_recall_that_is_away_is_unavailable_and_says_when_to_come_back(live: Live) -> None:
    live.gateway.recall.fail_with = Unavailable("recall is away", stage="recall", retry_after_ms=1500)
    reply = live.search("x")
    found = problem(reply, 503, "unavailable")
    assert (found.stage, found.retryable, found.retry_after_ms) == ("recall", True, 1500)
    assert reply.headers["retry-after"] == "2"


def test_a_full_queue_and_a_damaged_index_have_their_statuses(live: Live) -> None:
    live.gateway.recall.fail_with = Overloaded("the recall queue is full")
    problem(live.search("x"), 429, "overloaded")
    live.gateway.recall.fail_with = IndexUnreadable("a file is cut")
    problem(live.search("x"), 503, "index_unreadable")


class Unforeseen(RiddleError):
    """An error whose code nobody entered in the table."""

    code = "nobody_knows"


def test_an_error_that_nobody_foresaw_tells_nothing_of_the_inside(live: Live, caplog: pytest.LogCaptureFixture) -> None:
    live.gateway.recall.fail_with = Unforeseen("secret detail")
    with caplog.at_level(logging.ERROR):
        found = problem(live.search("x"), 500, "internal")
    assert "secret" not in found.detail
    assert found.instance.removeprefix("/requests/") in caplog.text


def test_a_request_id_is_taken_over_when_it_is_well_formed(live: Live) -> None:
    def answered(sent: str) -> str:
        return live.http.get("/livez", headers={"X-Request-ID": sent}).headers["x-request-id"]

    assert answered("trace-1.a_B") == "trace-1.a_B"
    for bad in ("a b", "x" * 65, "<script>"):
        assert answered(bad) != bad


def test_each_request_leaves_one_log_line(live: Live, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "riddle.access"):
        live.http.get("/v1/collections/no%0Awhere", headers={"X-Request-ID": "mine"})
        # The line is written when the response is through, which the client may see first.
        wait_until(lambda: any(record.name == "riddle.access" for record in caplog.records))
    lines = [record.getMessage() for record in caplog.records if record.name == "riddle.access"]
    assert len(lines) == 1
    assert lines[0].startswith("GET /v1/collections/no\\nwhere 404 ")
    assert lines[0].endswith(" mine")


def test_a_page_of_another_site_may_read_nothing_into_being(live: Live) -> None:
    headers = {"Sec-Fetch-Site": "cross-site"}
    problem(live.http.delete("/v1/collections/docs", headers=headers), 403, "forbidden")
    assert live.http.get("/v1/collections", headers=headers).status_code == 200
    assert live.http.delete("/v1/collections/docs", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 204


def test_the_type_of_a_problem_leads_somewhere(live: Live) -> None:
    kind = problem(live.http.get("/nowhere"), 404, "not_found").type
    assert live.http.get(kind).status_code == 200
    assert live.http.get("/problems/unheard-of").status_code == 404


def test_the_page_may_load_nothing_from_elsewhere(live: Live) -> None:
    reply = live.http.get("/")
    assert reply.status_code == 200
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert reply.headers["x-content-type-options"] == "nosniff"
