"""What a key may see and do, tried from outside as one who wants more than that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from retrieval.types import Document
from services.auth import KeyDoor
from services.jobs.routes import router
from services.jobs.runner import JobRunner
from services.keys import KeyRing
from tests.fake_build import FakeBuild
from tests.fakes import FakeRecall
from tests.live import LiveServer, Stage
from tests.service.conftest import Gateway, Live

OPEN = Document(
    "handbook.md", "The harbour opens at six in the morning.", "Hours", metadata={"lang": "en", "year": 2024}
)
SECRET = Document(
    "merger.md",
    "The harbour is sold in the morning.",
    "Merger",
    metadata={"lang": "secret-value", "year": 2031},
    acl=("group:board",),
)
SHARED = Document(
    "plan.md", "The harbour gets a crane.", "Plan", metadata={"lang": "de"}, acl=("group:board", "group:eng")
)
HIDDEN = Document("salaries.md", "The morning shift earns more.", acl=("group:board",))
QUERY = "what of the harbour in the morning"


class Keyed:
    """The gateway behind real keys: a client for each, by what the key is good for."""

    def __init__(self, live: Live, ring: KeyRing) -> None:
        self.live = live
        self.ring = ring
        self._tokens = {
            "board": ring.create(["group:board"])[1],
            "eng": ring.create(["group:eng"])[1],
            "nobody": ring.create([])[1],
            "writer": ring.create([], write=True)[1],
        }

    def call(self, who: str, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._tokens[who]}"} if who else {}
        return self.live.http.request(method, path, headers=headers | options.pop("headers", {}), **options)

    def search(self, who: str, query: str = QUERY, **fields: Any) -> dict[str, Any]:
        reply = self.call(who, "POST", "/v1/search", json={"query": query, "k": 20, **fields})
        assert reply.status_code == 200, reply.text
        found: dict[str, Any] = reply.json()
        return found

    def ids(self, who: str, **fields: Any) -> set[str]:
        return {each["document_id"] for each in self.search(who, **fields)["results"]}


@pytest.fixture
def keyed(stage: tuple[Stage, LiveServer, httpx.Client], tmp_path: Path) -> Keyed:
    on, server, http = stage
    recall = FakeRecall({"docs": [OPEN, SECRET, SHARED], "board-only": [HIDDEN], "empty": []})
    ring = KeyRing(tmp_path / "keys.json")
    gateway = Gateway(recall=recall, door=KeyDoor(ring, exposed=True))
    on.app = gateway.app
    return Keyed(Live(gateway, server, http), ring)


PATHS = [
    ("POST", "/v1/search"),
    ("POST", "/v1/answer"),
    ("GET", "/v1/collections"),
    ("GET", "/v1/collections/docs"),
    ("PUT", "/v1/collections/new"),
    ("DELETE", "/v1/collections/docs"),
    ("POST", "/v1/collections/docs/_bulk"),
    ("GET", "/v1/collections/docs/documents/handbook.md"),
    ("PUT", "/v1/collections/docs/documents/handbook.md"),
    ("DELETE", "/v1/collections/docs/documents/handbook.md"),
    ("GET", "/v1/aliases"),
    ("PUT", "/v1/aliases/a"),
    ("DELETE", "/v1/aliases/a"),
    ("GET", "/v1/jobs"),
    ("GET", "/v1"),
    ("GET", "/v1/"),
    ("GET", "/v1/nothing"),
]


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_nothing_under_v1_is_answered_without_a_key(keyed: Keyed, method: str, path: str) -> None:
    for headers in (
        {},
        {"Authorization": "Bearer rk_00000000_" + "x" * 43},
        {"X-API-Key": "no"},
        {"Authorization": "Basic eA=="},
    ):
        reply = keyed.call("", method, path, headers=headers, content=b'{"query": "x"}')
        assert reply.status_code == 401, path
        assert reply.json()["code"] == "unauthorized"
        assert reply.headers["www-authenticate"].startswith("Bearer")
        assert reply.headers["x-request-id"]
    assert len(keyed.live.gateway.recall.held) == 3


def test_a_body_is_not_read_before_its_key_is_known(keyed: Keyed) -> None:
    """So that a refusal tells nothing of what the body would have met."""
    assert keyed.call("", "POST", "/v1/search", content=b"{").status_code == 401
    assert keyed.call("", "POST", "/v1/search", content=b"x" * 50_000).status_code == 401


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/metrics", "/openapi.json", "/problems/conflict"])
def test_what_holds_no_documents_needs_no_key(keyed: Keyed, path: str) -> None:
    assert keyed.call("", "GET", path).status_code == 200


@pytest.mark.parametrize(
    "path", ["//v1/collections", "/./v1/collections", "/V1/collections", "/v1%2fcollections", "/%76%31/collections"]
)
def test_no_way_of_writing_a_path_leads_past_the_door(keyed: Keyed, path: str) -> None:
    assert keyed.call("", "GET", path).status_code in (401, 404)


WRITES = [
    ("PUT", "/v1/collections/new", {}),
    ("DELETE", "/v1/collections/docs", None),
    ("POST", "/v1/collections/docs/_bulk", {"delete": {"_id": "handbook.md"}}),
    ("PUT", "/v1/collections/docs/documents/handbook.md", {"text": "x"}),
    ("PUT", "/v1/collections/docs/documents/merger.md", {"text": "x"}),
    ("DELETE", "/v1/collections/docs/documents/merger.md", None),
    ("DELETE", "/v1/collections/docs/documents/not-there.md", None),
    ("PUT", "/v1/aliases/a", {"collection": "docs"}),
    ("DELETE", "/v1/aliases/a", None),
]


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
def test_a_key_that_may_only_read_changes_nothing_and_learns_nothing(
    keyed: Keyed, method: str, path: str, body: object
) -> None:
    before = {name: dict(held.documents) for name, held in keyed.live.gateway.recall.held.items()}
    reply = keyed.call("board", method, path, json=body)
    assert (reply.status_code, reply.json()["code"]) == (403, "forbidden")
    # Also with a body that could not be read: whether it may comes before what it wants.
    assert keyed.call("board", method, path, content=b"{").status_code == 403
    assert {name: dict(held.documents) for name, held in keyed.live.gateway.recall.held.items()} == before


def test_each_key_finds_what_it_may_see(keyed: Keyed) -> None:
    assert keyed.ids("board") == {"handbook.md", "merger.md", "plan.md"}
    assert keyed.ids("eng") == {"handbook.md", "plan.md"}
    assert keyed.ids("nobody") == {"handbook.md"}
    assert keyed.ids("writer") == {"handbook.md"}


def test_a_cached_page_is_for_those_of_equal_rights_only(keyed: Keyed) -> None:
    for who in ("board", "eng", "nobody"):
        assert keyed.search(who)["cache"] == "miss"
    for who, found in (("board", 3), ("eng", 2), ("nobody", 1)):
        again = keyed.search(who)
        assert (again["cache"], len(again["results"])) == ("hit", found)
    assert keyed.search("writer")["cache"] == "hit"  # the same rights as `nobody`


@pytest.mark.parametrize("field", ["principals", "rights", "acl", "key", "user"])
def test_a_request_cannot_name_its_own_rights(keyed: Keyed, field: str) -> None:
    reply = keyed.call("nobody", "POST", "/v1/search", json={"query": QUERY, field: ["group:board"]})
    assert reply.status_code == 422
    headers = {"X-Principals": "group:board", "X-Forwarded-User": "group:board"}
    reply = keyed.call("nobody", "POST", "/v1/search", json={"query": QUERY}, headers=headers)
    assert {each["document_id"] for each in reply.json()["results"]} == {"handbook.md"}


def test_a_hidden_document_and_one_that_is_not_there_answer_alike(keyed: Keyed) -> None:
    hidden = keyed.call("eng", "GET", "/v1/collections/docs/documents/merger.md")
    absent = keyed.call("eng", "GET", "/v1/collections/docs/documents/absent.md")
    assert hidden.status_code == absent.status_code == 404
    assert hidden.json()["detail"].replace("merger", "absent") == absent.json()["detail"]
    assert keyed.call("board", "GET", "/v1/collections/docs/documents/merger.md").json()["text"] == SECRET.text


def test_who_else_may_see_a_document_is_told_to_writers_only(keyed: Keyed) -> None:
    assert keyed.call("eng", "GET", "/v1/collections/docs/documents/plan.md").json()["acl"] is None
    writer = KeyRing(keyed.ring.path).create(["group:eng"], write=True)[1]
    reply = keyed.live.http.get("/v1/collections/docs/documents/plan.md", headers={"X-API-Key": writer})
    assert reply.json()["acl"] == ["group:board", "group:eng"]


def test_facets_count_what_the_key_may_see(keyed: Keyed) -> None:
    board = keyed.search("board", facets=["lang", "year"])["facets"]
    assert {each["value"] for each in board["lang"]} == {"en", "secret-value", "de"}
    nobody = keyed.search("nobody", facets=["lang", "year", "nothing"])["facets"]
    assert nobody == {"lang": [{"value": "en", "count": 1}], "year": [{"value": 2024, "count": 1}], "nothing": []}
    assert keyed.search("nobody", facets=["lang", "year", "nothing"])["cache"] == "hit"


def test_no_filter_reaches_what_the_key_may_not_see(keyed: Keyed) -> None:
    for filters in (
        {"type": "eq", "key": "lang", "value": "secret-value"},
        {"type": "ne", "key": "lang", "value": "en"},
        {"type": "gte", "key": "year", "value": 2030},
        {"type": "nin", "key": "nothing", "value": []},
        {"type": "eq", "key": "acl", "value": "group:board"},
    ):
        assert keyed.ids("nobody", filters=filters) <= {"handbook.md"}
    assert keyed.ids("board", filters={"type": "gte", "key": "year", "value": 2030}) == {"merger.md"}


def test_groups_hold_what_the_key_may_see(keyed: Keyed) -> None:
    assert keyed.ids("nobody", group_by="document", group_size=5) == {"handbook.md"}


def test_a_cursor_is_of_no_use_to_another_key(keyed: Keyed) -> None:
    cursor = keyed.search("board", k=1)["next_cursor"]
    assert cursor
    for who in ("eng", "nobody"):
        reply = keyed.call(who, "POST", "/v1/search", json={"query": QUERY, "k": 1, "cursor": cursor})
        assert reply.status_code == 422
    assert keyed.call("board", "POST", "/v1/search", json={"query": QUERY, "k": 1, "cursor": cursor}).status_code == 200


def test_answers_rest_on_what_the_key_may_see(keyed: Keyed) -> None:
    for who, expected in (("nobody", {"handbook.md"}), ("board", {"handbook.md", "merger.md", "plan.md"})):
        reply = keyed.call(who, "POST", "/v1/answer", json={"query": QUERY, "k": 10})
        assert {each["document_id"] for each in reply.json()["results"]} == expected
        streamed = keyed.call(
            who, "POST", "/v1/answer", json={"query": QUERY, "k": 10}, headers={"Accept": "text/event-stream"}
        )
        assert ("merger" in streamed.text) is (who == "board")


def test_collections_are_counted_and_listed_by_what_the_key_may_see(keyed: Keyed) -> None:
    def listed(who: str) -> dict[str, int]:
        return {
            each["name"]: each["documents"] for each in keyed.call(who, "GET", "/v1/collections").json()["collections"]
        }

    assert listed("board") == {"docs": 3, "board-only": 1}
    assert listed("nobody") == {"docs": 1}
    assert listed("writer") == {"docs": 1, "board-only": 0, "empty": 0}
    one = keyed.call("nobody", "GET", "/v1/collections/docs").json()
    assert (one["documents"], one["passages"], one["bytes"]) == (1, 1, None)
    assert keyed.call("writer", "GET", "/v1/collections/docs").json()["bytes"] > 0


def test_aliases_of_collections_that_are_not_listed_are_not_listed(keyed: Keyed) -> None:
    for alias, name in (("mine", "docs"), ("theirs", "board-only")):
        assert keyed.call("writer", "PUT", f"/v1/aliases/{alias}", json={"collection": name}).status_code == 200
    assert keyed.call("nobody", "GET", "/v1/aliases").json()["aliases"] == {"mine": "docs"}
    assert keyed.call("board", "GET", "/v1/aliases").json()["aliases"] == {"mine": "docs", "theirs": "board-only"}
    assert keyed.ids("nobody", collection="mine") == {"handbook.md"}
    assert keyed.ids("nobody", collection="theirs") == set()
    assert keyed.call("nobody", "GET", "/v1/collections/theirs/documents/salaries.md").status_code == 404


def test_after_a_change_of_rights_nothing_old_is_shown(keyed: Keyed) -> None:
    assert "handbook.md" in keyed.ids("nobody")
    body = {"text": OPEN.text, "acl": ["group:board"]}
    assert keyed.call("writer", "PUT", "/v1/collections/docs/documents/handbook.md", json=body).status_code == 200
    assert keyed.ids("nobody") == set()
    assert "handbook.md" in keyed.ids("board")


def test_keys_made_and_revoked_while_it_runs_count_at_once(keyed: Keyed) -> None:
    other = KeyRing(keyed.ring.path)
    key, token = other.create(["group:board"])
    headers = {"X-API-Key": token}
    assert keyed.live.http.get("/v1/collections", headers=headers).status_code == 200
    other.revoke(key.id)
    assert keyed.live.http.get("/v1/collections", headers=headers).status_code == 401


def test_a_file_of_keys_that_is_removed_opens_no_door_to_other_machines(keyed: Keyed) -> None:
    keyed.ring.path.unlink()
    assert keyed.call("", "GET", "/v1/collections").status_code == 401
    assert keyed.call("board", "GET", "/v1/collections").status_code == 401


def test_a_file_of_keys_that_is_damaged_is_a_503_without_its_content(keyed: Keyed) -> None:
    keyed.ring.path.write_text(json.dumps({"format": 1, "keys": [{"id": "inside"}]}))
    reply = keyed.call("board", "GET", "/v1/collections")
    assert reply.status_code == 503
    assert "inside" not in reply.text


JOB = "/v1/jobs/job_0123456789abcdef"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/jobs"),
        ("POST", "/v1/jobs"),
        ("GET", JOB),
        ("GET", f"{JOB}/events"),
        ("DELETE", JOB),
        ("POST", f"{JOB}/resume"),
    ],
)
def test_jobs_write_and_tell_of_files_so_all_of_them_need_a_key_that_may_write(
    stage: tuple[Stage, LiveServer, httpx.Client], tmp_path: Path, method: str, path: str
) -> None:
    on, _, http = stage
    ring = KeyRing(tmp_path / "keys.json")
    read, write = ring.create(["group:board"])[1], ring.create([], write=True)[1]
    jobs = router(JobRunner(tmp_path, FakeBuild()))
    gateway = Gateway(door=KeyDoor(ring, exposed=True), jobs=jobs)
    on.app = gateway.app
    assert http.request(method, path).status_code == 401
    assert http.request(method, path, headers={"X-API-Key": read}).status_code == 403
    # What comes then is of another kind: there is no such job, the request is no upload.
    assert http.request(method, path, headers={"X-API-Key": write}).status_code in (200, 404, 422)


def test_metrics_and_readiness_name_no_document(keyed: Keyed) -> None:
    keyed.search("board")
    keyed.call("board", "GET", "/v1/collections/docs/documents/merger.md")
    for path in ("/metrics", "/readyz", "/openapi.json"):
        text = keyed.call("", "GET", path).text
        assert "merger" not in text
        assert "board" not in text
