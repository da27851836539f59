"""Jobs: their states, what survives a restart, and what happens when a build fails."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from retrieval.errors import Conflict, DiskFull, InvalidRequest, JobNotFound, Overloaded
from services.jobs.runner import JobRunner
from services.jobs.store import Job, JobStore, RejectedFile, now
from services.jobs.uploads import JobLimits
from tests.fake_build import FakeBuild


def upload(runner: JobRunner, name: str = "a.md", collection: str = "docs") -> Job:
    job_id = runner.store.begin()
    (runner.store.files(job_id) / name).write_text("# A")
    return runner.submit(Job(job_id, collection, now(), files=1, bytes=3))


def ended(runner: JobRunner, job_id: str) -> Job:
    async def last() -> Job:
        return [job async for job in runner.watch(job_id, every_s=0.005)][-1]

    return asyncio.run(asyncio.wait_for(last(), 30))


@contextmanager
def running(home: Path, build: FakeBuild, limits: JobLimits | None = None) -> Iterator[JobRunner]:
    runner = JobRunner(home, build, limits=limits)
    runner.start()
    try:
        yield runner
    finally:
        runner.stop()


def test_a_job_runs_tells_how_far_it_is_and_ends_with_a_summary(tmp_path: Path) -> None:
    build = FakeBuild()
    with running(tmp_path, build) as runner:
        job = upload(runner)
        assert build.reached.wait(30)
        halfway = runner.get(job.id)
        assert (halfway.state, halfway.stage, halfway.done, halfway.total) == ("running", "embedding", 1, 2)
        assert (halfway.rate_per_s, halfway.eta_s, halfway.checkpoint) == (10.0, 0.1, "part-1")
        build.go.set()
        done = ended(runner, job.id)
    assert (done.state, done.failed, done.resumable) == ("done", 1, False)
    assert done.rejected == (RejectedFile("scan.pdf", "no text"),)
    assert done.summary is not None
    assert (done.summary.documents, done.summary.passages, done.summary.rejected) == (1, 2, 1)
    assert build.seen == [("docs", ["a.md"])]


def test_uploads_are_kept_until_the_job_is_done_and_no_longer(tmp_path: Path) -> None:
    build = FakeBuild()
    with running(tmp_path, build) as runner:
        job = upload(runner)
        assert runner.store.files(job.id).is_dir()
        build.go.set()
        ended(runner, job.id)
    assert not runner.store.files(job.id).exists()
    assert JobStore(tmp_path / "jobs").load(job.id).state == "done"


def test_builds_run_one_at_a_time_in_the_order_they_came(tmp_path: Path) -> None:
    build = FakeBuild()
    with running(tmp_path, build) as runner:
        first, second = upload(runner, "1.md"), upload(runner, "2.md")
        assert build.reached.wait(30)
        assert runner.get(second.id).state == "queued"
        build.go.set()
        ended(runner, first.id)
        ended(runner, second.id)
        assert [job.id for job in runner.jobs()] == [second.id, first.id]
    assert [names for _, names in build.seen] == [["1.md"], ["2.md"]]


def test_a_running_job_is_cancelled_and_its_uploads_are_removed(tmp_path: Path) -> None:
    build = FakeBuild()
    with running(tmp_path, build) as runner:
        job = upload(runner)
        assert build.reached.wait(30)
        runner.cancel(job.id)
        assert ended(runner, job.id).state == "cancelled"
    assert not runner.store.files(job.id).exists()


def test_a_waiting_job_is_cancelled_at_once_and_never_built(tmp_path: Path) -> None:
    build = FakeBuild()
    with running(tmp_path, build) as runner:
        first, second = upload(runner, "1.md"), upload(runner, "2.md")
        assert build.reached.wait(30)
        assert runner.cancel(second.id).state == "cancelled"
        build.go.set()
        ended(runner, first.id)
    assert [names for _, names in build.seen] == [["1.md"]]


def test_cancelling_an_ended_job_changes_nothing(tmp_path: Path) -> None:
    build = FakeBuild()
    build.go.set()
    with running(tmp_path, build) as runner:
        job = upload(runner)
        done = ended(runner, job.id)
        assert runner.cancel(job.id) == done


def test_a_stopped_runner_leaves_its_jobs_to_the_next_start(tmp_path: Path) -> None:
    build = FakeBuild()
    with running(tmp_path, build) as runner:
        first, second = upload(runner, "1.md"), upload(runner, "2.md")
        assert build.reached.wait(30)
    assert [runner.get(job.id).state for job in (first, second)] == ["queued", "queued"]
    again = FakeBuild()
    again.go.set()
    with running(tmp_path, again) as runner:
        assert ended(runner, first.id).state == "done"
        assert ended(runner, second.id).state == "done"
    assert again.seen == [("docs", ["1.md"]), ("docs", ["2.md"])]


def test_a_job_that_a_killed_process_left_running_is_taken_up_again(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs")
    job_id = store.begin()
    (store.files(job_id) / "a.md").write_text("# A")
    store.save(Job(job_id, "docs", now(), state="running", stage="embedding", done=7))
    build = FakeBuild()
    build.go.set()
    with running(tmp_path, build) as runner:
        assert ended(runner, job_id).state == "done"
    assert build.seen == [("docs", ["a.md"])]


def test_an_upload_cut_off_by_a_killed_process_is_swept_away(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs")
    cut_off = store.begin()
    with running(tmp_path, FakeBuild()) as runner:
        assert runner.jobs() == []
    assert not store.files(cut_off).parent.exists()


def test_an_unreadable_record_costs_only_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = JobStore(tmp_path / "jobs")
    bad, good = store.begin(), store.begin()
    (store.files(bad).parent / "job.json").write_text('{"id": ')
    store.save(Job(good, "docs", now(), state="cancelled"))
    with running(tmp_path, FakeBuild()) as runner:
        assert [job.id for job in runner.jobs()] == [good]
    assert bad in caplog.text


def test_a_build_that_fails_says_why_and_drops_its_uploads(tmp_path: Path) -> None:
    build = FakeBuild(error=InvalidRequest("every file was rejected"))
    build.go.set()
    with running(tmp_path, build) as runner:
        job = ended(runner, upload(runner).id)
        assert job.state == "failed"
        assert job.error == {"code": "invalid_request", "title": "Invalid request", "detail": "every file was rejected"}
        with pytest.raises(Conflict, match="cannot be resumed"):
            runner.resume(job.id)
    assert not runner.store.files(job.id).exists()


def test_a_build_that_ran_out_of_space_keeps_its_uploads_and_can_be_resumed(tmp_path: Path) -> None:
    build = FakeBuild(error=DiskFull("No space left on the disk."))
    build.go.set()
    with running(tmp_path, build) as runner:
        job = ended(runner, upload(runner).id)
        assert (job.state, job.resumable) == ("failed", True)
        build.error = None
        runner.resume(job.id)
        done = ended(runner, job.id)
    assert (done.state, done.error) == ("done", None)
    assert build.seen == [("docs", ["a.md"])] * 2


def test_a_fault_of_ours_fails_the_job_and_not_the_runner(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    build = FakeBuild(error=ZeroDivisionError("secret path /etc"))
    build.go.set()
    with running(tmp_path, build) as runner:
        job = ended(runner, upload(runner).id)
        assert job.error is not None
        assert job.error["code"] == "internal"
        assert "secret" not in job.error["detail"]
        build.error = None
        assert ended(runner, upload(runner).id).state == "done"
    assert "ZeroDivisionError" in caplog.text


def test_too_many_waiting_jobs_are_refused(tmp_path: Path) -> None:
    with running(tmp_path, FakeBuild(), JobLimits(max_waiting=1)) as runner:
        upload(runner)
        with pytest.raises(Overloaded, match="waiting"):
            upload(runner)


@pytest.mark.parametrize("job_id", ["job_0000000000000000", "nonsense", "../../etc", ""])
def test_an_unknown_job_is_named(tmp_path: Path, job_id: str) -> None:
    with running(tmp_path, FakeBuild()) as runner, pytest.raises(JobNotFound):
        runner.get(job_id)
    with pytest.raises(JobNotFound):
        runner.store.load(job_id)


def test_a_watcher_is_released_when_the_server_closes(tmp_path: Path) -> None:
    async def watched(runner: JobRunner, job_id: str) -> list[str]:
        states: list[str] = []
        async for job in runner.watch(job_id, every_s=0.005):
            states.append(job.state)
            runner.release_watchers()
        return states

    with running(tmp_path, FakeBuild()) as runner:
        job = upload(runner)
        assert len(asyncio.run(asyncio.wait_for(watched(runner, job.id), 30))) == 1
        assert not runner.get(job.id).ended


def test_a_saved_job_reads_back_equal(tmp_path: Path) -> None:
    build = FakeBuild()
    build.go.set()
    with running(tmp_path, build) as runner:
        job = ended(runner, upload(runner).id)
    assert JobStore(tmp_path / "jobs").load(job.id) == job
