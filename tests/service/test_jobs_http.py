"""Builds asked for over HTTP: through a real server, with a build that does as it is told."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import httpx
import pytest
from fastapi import FastAPI

from services.frame import framed_app
from services.jobs.routes import router
from services.jobs.runner import JobRunner
from services.jobs.store import Job, JobStore, now
from services.jobs.uploads import JobLimits, OpenFile, open_new
from services.telemetry import Telemetry
from tests.fake_build import FakeBuild
from tests.live import LiveServer, served, wait_until

MIB = 1 << 20


@dataclass
class Jobs:
    """A server with nothing but jobs, and a client of it."""

    home: Path
    build: FakeBuild
    app: FastAPI
    server: LiveServer
    http: httpx.Client
    runner: JobRunner = field(repr=False)

    def send(self, *files: tuple[str, bytes], collection: str = "docs") -> httpx.Response:
        parts = [("files", (name, content, "text/plain")) for name, content in files]
        return self.http.post("/v1/jobs", data={"collection": collection}, files=parts)

    def ended(self, job_id: str) -> dict[str, Any]:
        """Follow the events of a job; its last state."""
        return self.events(job_id)[-1]

    def events(self, job_id: str) -> list[dict[str, Any]]:
        with self.http.stream("GET", f"/v1/jobs/{job_id}/events") as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            blocks = response.read().decode().split("\n\n")
        return [json.loads(block.removeprefix("event: job\ndata: ")) for block in blocks if block]

    def left_on_disk(self) -> list[str]:
        folder = self.home / "jobs"
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@contextmanager
def jobs(
    home: Path,
    build: FakeBuild | None = None,
    *,
    limits: JobLimits | None = None,
    source_folder: Path | None = None,
    open_file: OpenFile = open_new,
) -> Iterator[Jobs]:
    build = build or FakeBuild()
    runner = JobRunner(home, build, limits=limits, source_folder=source_folder, open_file=open_file)

    async def ready() -> Mapping[str, str]:
        return {}

    app = framed_app("jobs", ready=ready, telemetry=Telemetry(), body_limit=10_000, body_limits={"/v1/jobs": 8 * MIB})
    app.include_router(router(runner))
    with served(app) as server, httpx.Client(base_url=server.url, timeout=60, trust_env=False) as http:
        yield Jobs(home, build, app, server, http, runner)


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Jobs]:
    with jobs(tmp_path, limits=JobLimits(max_files=3, max_bytes=MIB, max_waiting=2)) as running:
        yield running


def problem(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == response.status_code
    return response.status_code, body["detail"]


def test_an_upload_is_accepted_built_and_told_of_as_it_goes(live: Jobs) -> None:
    accepted = live.send(("a.md", b"# A"), ("sub/b.md", b"# B"))
    assert accepted.status_code == 202
    job = accepted.json()
    assert accepted.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["state"], job["collection"], job["files"], job["bytes"]) == ("queued", "docs", 2, 6)
    assert live.build.reached.wait(60)
    halfway = live.http.get(f"/v1/jobs/{job['id']}").json()
    assert (halfway["state"], halfway["stage"], halfway["done"], halfway["total"]) == ("running", "embedding", 1, 2)
    live.build.go.set()
    done = live.ended(job["id"])
    assert done["state"] == "done"
    assert done["summary"] == {"documents": 1, "passages": 2, "rejected": 1, "seconds": 0.5, "generation": "docs@1"}
    assert done["rejected"] == [{"source": "scan.pdf", "reason": "no text"}]
    assert live.build.seen == [("docs", ["a.md", "sub/b.md"])]


def test_events_show_the_way_to_the_end_and_then_stop(live: Jobs) -> None:
    job = live.send(("a.md", b"# A")).json()
    with live.http.stream("GET", f"/v1/jobs/{job['id']}/events") as response:
        states = []
        for line in response.iter_lines():
            if line.startswith("data: "):
                states.append(json.loads(line.removeprefix("data: "))["state"])
                if states[-1] == "running":
                    live.build.go.set()
    assert states[-2:] == ["running", "done"]
    assert [each["state"] for each in live.events(job["id"])] == ["done"]


def test_a_server_that_drains_ends_the_events_of_jobs_that_go_on(live: Jobs) -> None:
    job = live.send(("a.md", b"# A")).json()
    with live.http.stream("GET", f"/v1/jobs/{job['id']}/events") as response:
        for line in response.iter_lines():
            if '"state": "running"' in line:
                for drain in live.app.state.on_drain:
                    live.server.call(drain)
    assert live.http.get(f"/v1/jobs/{job['id']}").json()["state"] == "running"


def test_all_jobs_are_listed_newest_first_with_the_limits_of_an_upload(live: Jobs) -> None:
    live.build.go.set()
    first, second = (live.send((name, b"#")).json()["id"] for name in ("a.md", "b.md"))
    listed = live.http.get("/v1/jobs").json()
    assert [job["id"] for job in listed["jobs"]] == [second, first]
    assert listed["limits"] == {"max_files": 3, "max_bytes": MIB}


def test_a_name_that_climbs_stays_below_its_job(live: Jobs) -> None:
    live.build.go.set()
    job = live.send(("../../../escaped.md", b"#"), ("/etc/cron.d/evil.md", b"#")).json()
    live.ended(job["id"])
    assert live.build.seen == [("docs", ["escaped.md", "etc/cron.d/evil.md"])]
    # Looked for by name: the job's own files are being removed at this moment, and a walk may trip over that.
    above = [live.home.parent, live.home, live.home / "jobs", live.home / "jobs" / job["id"]]
    assert not [folder for folder in above if (folder / "escaped.md").exists()]


@pytest.mark.parametrize("name", ["", "Docs", "../docs", "a b", "x" * 65, "-docs", "文档"])
def test_a_name_that_no_collection_may_have_is_refused_and_nothing_stays(live: Jobs, name: str) -> None:
    status, detail = problem(live.send(("a.md", b"#"), collection=name))
    assert (status, "cannot name a collection" in detail) == (422, True)
    assert live.left_on_disk() == []


def test_an_upload_without_a_file_is_refused(live: Jobs) -> None:
    response = live.http.post("/v1/jobs", data={"collection": "docs"}, files=[("note", (None, b"x"))])
    assert problem(response) == (422, "The upload holds no file; send at least one in a field named `files`.")
    assert live.left_on_disk() == []


def test_too_many_files_are_refused_with_the_limit(live: Jobs) -> None:
    status, detail = problem(live.send(*((f"{number}.md", b"#") for number in range(4))))
    assert (status, "More than 3 files" in detail) == (413, True)
    assert live.left_on_disk() == []


def test_too_many_bytes_are_refused_with_the_limit(live: Jobs) -> None:
    status, detail = problem(live.send(("a.md", b"x" * (2 * MIB))))
    assert (status, "limit of 1 MiB" in detail) == (413, True)
    assert live.left_on_disk() == []


def test_too_many_bytes_of_no_declared_length_are_refused_with_the_limit(live: Jobs) -> None:
    def body() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.md"\r\n\r\n'
        for _ in range(20):
            yield b"x" * (MIB // 10)
        yield b"\r\n--b--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    status, _ = problem(live.http.post("/v1/jobs", content=body(), headers=headers))
    assert status == 413
    assert live.left_on_disk() == []


def test_a_queue_that_is_full_says_when_to_come_back(live: Jobs) -> None:
    for name in ("a.md", "b.md"):
        assert live.send((name, b"#")).status_code == 202
    refused = live.send(("c.md", b"#"))
    assert problem(refused)[0] == 429
    assert refused.headers["retry-after"] == "30"
    assert len(live.left_on_disk()) == 2


def test_a_full_disk_is_told_and_cleaned_up(tmp_path: Path) -> None:
    def open_full(path: Path) -> BinaryIO:
        open_new(path).close()
        return Path("/dev/full").open("wb")

    with jobs(tmp_path, open_file=open_full) as live:
        status, detail = problem(live.send(("a.md", b"x" * 100_000)))
        assert (status, "No space left" in detail) == (507, True)
        assert live.left_on_disk() == []


def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind(live: Jobs) -> None:
    with socket.create_connection(("127.0.0.1", live.server.port)) as line:
        head = "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        part = '--b\r\nContent-Disposition: form-data; name="files"; filename="a.md"\r\n\r\nabc'
        line.sendall(f"{head}Content-Length: 5000\r\n\r\n{part}".encode())
        wait_until(lambda: len(live.left_on_disk()) == 1)
    wait_until(lambda: live.left_on_disk() == [])
    assert live.http.get("/v1/jobs").json()["jobs"] == []


def test_a_running_job_is_cancelled(live: Jobs) -> None:
    job = live.send(("a.md", b"#")).json()
    assert live.build.reached.wait(60)
    assert live.http.delete(f"/v1/jobs/{job['id']}").status_code == 200
    assert live.ended(job["id"])["state"] == "cancelled"


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "/events"), ("DELETE", ""), ("POST", "/resume")])
@pytest.mark.parametrize("job_id", ["job_0000000000000000", "nonsense", "..%2F..%2Fetc"])
def test_an_unknown_job_is_a_404(live: Jobs, method: str, path: str, job_id: str) -> None:
    assert live.http.request(method, f"/v1/jobs/{job_id}{path}").status_code == 404


def test_an_ended_job_cannot_be_resumed(live: Jobs) -> None:
    live.build.go.set()
    job = live.send(("a.md", b"#")).json()
    live.ended(job["id"])
    status, detail = problem(live.http.post(f"/v1/jobs/{job['id']}/resume"))
    assert (status, "cannot be resumed" in detail) == (409, True)


def test_files_of_the_server_are_refused_unless_a_folder_is_allowed(live: Jobs) -> None:
    status, detail = problem(live.http.post("/v1/jobs", json={"collection": "docs", "sources": ["/etc"]}))
    assert (status, "RIDDLE_JOBS_SOURCES" in detail) == (422, True)


def test_files_below_the_allowed_folder_are_built_and_no_others(tmp_path: Path) -> None:
    allowed, secret = tmp_path / "allowed", tmp_path / "secret"
    (allowed / "manual").mkdir(parents=True)
    (allowed / "manual" / "a.md").write_text("# A")
    secret.mkdir()
    (allowed / "link").symlink_to(secret)
    with jobs(tmp_path / "home", source_folder=allowed) as live:
        live.build.go.set()
        job = live.http.post("/v1/jobs", json={"collection": "docs", "sources": ["manual"]}).json()
        assert live.ended(job["id"])["state"] == "done"
        assert live.build.seen == [("docs", ["a.md"])]
        for source in ("../secret", str(secret), "link", "missing", "a\0b"):
            refused = live.http.post("/v1/jobs", json={"collection": "docs", "sources": [source]})
            status, detail = problem(refused)
            assert (status, "jobs.sources" in detail) == (422, True)
        assert (allowed / "manual" / "a.md").exists()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b"[]", 422),
        (b'{"collection":"docs"}', 422),
        (b'{"collection":"docs","sources":[]}', 422),
        (b'{"collection":"docs","sources":["a"],"typo":1}', 422),
        (b'{"collection":7,"sources":["a"]}', 422),
    ],
)
def test_a_body_that_is_no_request_for_a_build_is_refused(live: Jobs, body: bytes, status: int) -> None:
    response = live.http.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert problem(response)[0] == status
    assert live.left_on_disk() == []


@pytest.mark.parametrize("content_type", ["text/plain", "multipart/form-data", ""])
def test_a_body_of_another_kind_is_refused(live: Jobs, content_type: str) -> None:
    response = live.http.post("/v1/jobs", content=b"hello", headers={"Content-Type": content_type})
    assert problem(response)[0] in (400, 422)


def test_a_job_that_was_left_unfinished_is_built_by_the_next_process(tmp_path: Path) -> None:
    with jobs(tmp_path) as live:
        job = live.send(("a.md", b"#")).json()
        assert live.build.reached.wait(60)
    build = FakeBuild()
    build.go.set()
    with jobs(tmp_path, build=build) as live:
        assert live.ended(job["id"])["state"] == "done"
    assert build.seen == [("docs", ["a.md"])]


def test_jobs_of_an_earlier_process_are_remembered(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs")
    job_id = store.begin()
    store.save(Job(job_id, "docs", now(), state="failed", resumable=False, error={"code": "x", "detail": "why"}))
    with jobs(tmp_path) as live:
        assert live.http.get(f"/v1/jobs/{job_id}").json()["error"]["detail"] == "why"
