"""Turns a request for a build into a job: an upload stored, or files of the server named."""

from __future__ import annotations

import asyncio
import re
from contextlib import ExitStack
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request

from retrieval.errors import BadSyntax, InvalidRequest
from services.jobs.runner import JobRunner
from services.jobs.store import Job, now
from services.jobs.uploads import receive, too_large

MAX_JSON_BYTES = 1 << 20

_COLLECTION = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class JobRequest(BaseModel):
    """The JSON body: files and folders of the server to build into a collection."""

    model_config = ConfigDict(extra="forbid", strict=True)

    collection: str = Field(examples=["docs"])
    sources: list[str] = Field(min_length=1, max_length=1000, examples=[["manual/", "faq.md"]])


async def accept(request: Request, runner: JobRunner) -> Job:
    """Read the request and queue its job.

    Raises BadSyntax, InvalidRequest, TooLarge, Overloaded, DiskFull; nothing is left behind then.
    """
    content_type = request.headers.get("content-type", "")
    if content_type.startswith("multipart/form-data"):
        return await _from_upload(request, runner, content_type)
    if content_type.split(";")[0].strip() == "application/json":
        return await _from_json(request, runner)
    raise InvalidRequest("Send files as multipart/form-data, or JSON with `collection` and `sources`.")


async def _from_upload(request: Request, runner: JobRunner, content_type: str) -> Job:
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > runner.limits.max_bytes:
        raise too_large(runner.limits)
    with ExitStack() as undo:
        job_id = await asyncio.to_thread(runner.store.begin)
        undo.callback(runner.store.discard, job_id)
        received = await receive(
            request.stream(), content_type, runner.store.files(job_id), runner.limits, runner.open_file
        )
        if not received.files:
            raise InvalidRequest("The upload holds no file; send at least one in a field named `files`.")
        collection = collection_name(received.fields.get("collection", ""))
        job = Job(job_id, collection, now(), files=len(received.files), bytes=received.bytes)
        submitted = await asyncio.to_thread(runner.submit, job)
        undo.pop_all()
    return submitted


async def _from_json(request: Request, runner: JobRunner) -> Job:
    body = bytearray()
    async for block in request.stream():
        body += block
        if len(body) > MAX_JSON_BYTES:
            raise InvalidRequest(f"The JSON is longer than {MAX_JSON_BYTES} bytes; name folders instead of files.")
    try:
        wanted = JobRequest.model_validate_json(bytes(body))
    except ValidationError as error:
        raise _refused(error) from error
    collection = collection_name(wanted.collection)
    sources = await asyncio.to_thread(allowed_sources, wanted.sources, runner.source_folder)
    job_id = await asyncio.to_thread(runner.store.begin)
    with ExitStack() as undo:
        undo.callback(runner.store.discard, job_id)
        job = Job(job_id, collection, now(), sources=tuple(str(path) for path in sources))
        submitted = await asyncio.to_thread(runner.submit, job)
        undo.pop_all()
    return submitted


def collection_name(name: str) -> str:
    """``name`` if a collection may be called that. Raises InvalidRequest."""
    if not _COLLECTION.fullmatch(name):
        raise InvalidRequest(
            f"{name!r} cannot name a collection: use 1 to 64 lower-case letters, digits, - and _, "
            "starting with a letter or digit."
        )
    return name


def allowed_sources(sources: list[str], folder: Path | None) -> list[Path]:
    """The real paths of ``sources``, each below ``folder``; links are followed before that is judged.

    Relative ones start at ``folder``. Raises InvalidRequest, for all sources alike when no folder is set.
    """
    if folder is None:
        raise InvalidRequest(
            "This server reads no files of its own: set `jobs.sources` (RIDDLE_JOBS_SOURCES) to the folder "
            "it may read, or upload the files."
        )
    base = folder.resolve()
    found: list[Path] = []
    for source in sources:
        path = (base / source).resolve() if "\0" not in source else base.parent
        if not path.is_relative_to(base) or not path.exists():
            raise InvalidRequest(f"{source!r} is not a file or folder below the one that `jobs.sources` allows.")
        found.append(path)
    return found


def _refused(error: ValidationError) -> InvalidRequest | BadSyntax:
    first = error.errors(include_url=False, include_context=False)[0]
    if first["type"] == "json_invalid":
        return BadSyntax(f"The body is not JSON: {first['msg']}.")
    where = ".".join(str(part) for part in first["loc"])
    return InvalidRequest(f"{where or 'The body'}: {first['msg']}.")
