"""The HTTP face of jobs: ask for a build, follow it, cancel it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from services.jobs.intake import JobRequest, accept
from services.jobs.runner import JobRunner
from services.jobs.store import Job

EXAMPLE = {
    "id": "job_5f0c2a9be1d34c77",
    "state": "running",
    "stage": "embedding",
    "done": 4120,
    "total": 9812,
    "failed": 3,
    "rate_per_s": 91.0,
    "eta_s": 62.5,
    "checkpoint": "part-17",
    "resumable": True,
    "collection": "docs",
    "rejected": [],
    "summary": None,
    "error": None,
}

_UPLOAD = {
    "type": "object",
    "required": ["collection", "files"],
    "properties": {
        "collection": {"type": "string", "examples": ["docs"]},
        "files": {"type": "array", "items": {"type": "string", "format": "binary"}},
    },
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": _UPLOAD},
            "application/json": {"schema": JobRequest.model_json_schema()},
        },
    }
}


def router(runner: JobRunner) -> APIRouter:
    """Routes under /v1/jobs; including them starts the runner with the application and stops it with it.

    Errors are raised as RiddleError and left to the application's handlers. A server that calls what
    ``app.state.on_drain`` lists, before it waits for open responses, need not wait for streams of events.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.on_drain = [*getattr(app.state, "on_drain", ()), runner.release_watchers]
        await asyncio.to_thread(runner.start)
        try:
            yield
        finally:
            await asyncio.to_thread(runner.stop)

    api = APIRouter(tags=["jobs"], lifespan=lifespan)
    _asking(api, runner)
    _following(api, runner)
    return api


def _asking(api: APIRouter, runner: JobRunner) -> None:
    """What begins a build, ends it, or takes it up again."""

    @api.post(
        "/v1/jobs",
        status_code=202,
        summary="Build uploaded files, or files of the server, into a collection",
        openapi_extra=_BODY,
        responses={202: {"content": {"application/json": {"example": EXAMPLE}}}},
    )
    async def create(request: Request) -> Response:
        job = await accept(request, runner)
        return JSONResponse(job.public(), 202, {"Location": f"/v1/jobs/{job.id}"})

    @api.post("/v1/jobs/{job_id}/resume", status_code=202, summary="Take a failed job up where it stopped")
    def resume(job_id: str) -> dict[str, object]:
        return runner.resume(job_id).public()

    @api.delete("/v1/jobs/{job_id}", summary="Cancel a job; one that has ended stays as it is")
    def cancel(job_id: str) -> dict[str, object]:
        return runner.cancel(job_id).public()


def _following(api: APIRouter, runner: JobRunner) -> None:
    """What tells how builds go."""

    @api.get("/v1/jobs", summary="All jobs, newest first, and the limits of an upload")
    async def listed() -> dict[str, object]:
        limits = {"max_files": runner.limits.max_files, "max_bytes": runner.limits.max_bytes}
        return {"jobs": [job.public() for job in runner.jobs()], "limits": limits}

    @api.get(
        "/v1/jobs/{job_id}",
        summary="One job",
        responses={200: {"content": {"application/json": {"example": EXAMPLE}}}},
    )
    async def one(job_id: str) -> dict[str, object]:
        return runner.get(job_id).public()

    @api.get(
        "/v1/jobs/{job_id}/events",
        summary="Follow one job as server-sent events, one `job` event at each change, until it ends",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {"example": "event: job\ndata: {…}\n\n"}}}},
    )
    async def events(job_id: str) -> Response:
        runner.get(job_id)  # an unknown job is a 404, before the stream opens
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(_events(runner, job_id), headers=headers, media_type="text/event-stream")


async def _events(runner: JobRunner, job_id: str) -> AsyncIterator[str]:
    async for job in runner.watch(job_id):
        yield event(job)


def event(job: Job) -> str:
    """One server-sent event; JSON writes line ends as escapes, so that data is a single line."""
    return f"event: job\ndata: {json.dumps(job.public(), ensure_ascii=False)}\n\n"
