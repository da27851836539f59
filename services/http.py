"""What a failure looks like over HTTP: one table from error codes to statuses, one RFC 9457 body for all."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from retrieval.errors import RiddleError, Unauthorized
from services.dialects import Failure, dialect_of

PROBLEM_TYPE = "application/problem+json"

CHALLENGE = 'Bearer realm="riddle"'
"""What a 401 asks for, RFC 6750."""

STATUS: Mapping[str, int] = {
    "bad_syntax": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "collection_not_found": 404,
    "document_not_found": 404,
    "job_not_found": 404,
    "request_not_found": 404,
    "model_not_found": 404,
    "method_not_allowed": 405,
    "conflict": 409,
    "gate_failed": 409,
    "too_large": 413,
    "unsupported_media_type": 415,
    "invalid_request": 422,
    "source_unreadable": 422,
    "model_missing": 424,
    "overloaded": 429,
    "internal": 500,
    "settings": 500,
    "unavailable": 503,
    "index_unreadable": 503,
    "generation_failed": 503,
    "disk_full": 507,
}
"""The one place where a code becomes a status."""

_FRAMEWORK = {400: "bad_syntax", 403: "forbidden", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}
_TITLES = {
    "unauthorized": Unauthorized.title,
    "not_found": "Not found",
    "method_not_allowed": "Method not allowed",
    "forbidden": "Forbidden",
    "bad_syntax": "Malformed request",
    "too_large": "Too large",
    "unsupported_media_type": "Unsupported media type",
    "internal": "Internal error",
}

log = logging.getLogger("riddle.http")


class FieldError(BaseModel):
    field: str
    message: str


class Problem(BaseModel):
    """An RFC 9457 body. ``code`` is stable; ``detail`` says what is wrong and what to do."""

    type: str
    code: str
    title: str
    status: int
    detail: str
    instance: str
    retryable: bool = False
    retry_after_ms: int | None = None
    stage: str | None = None
    errors: list[FieldError] | None = None
    parts: Annotated[dict[str, str] | None, Field(description="of /readyz: what is ready and what is not")] = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "/problems/overloaded",
                    "code": "overloaded",
                    "title": "Overloaded",
                    "status": 429,
                    "detail": "the rerank queue is full",
                    "instance": "/requests/r_1f0c",
                    "retryable": True,
                    "retry_after_ms": 800,
                    "stage": "rerank",
                }
            ]
        }
    )


def problem_of(error: RiddleError, request_id: str) -> Problem:
    return Problem(
        type=f"/problems/{error.code}",
        code=error.code,
        title=error.title,
        status=STATUS[error.code],
        detail=_encodable(error.detail),
        instance=f"/requests/{request_id}",
        retryable=error.retryable,
        retry_after_ms=error.retry_after_ms,
        stage=error.stage,
    )


def plain_problem(
    code: str, detail: str, request_id: str, *, status: int | None = None, errors: Sequence[FieldError] = ()
) -> Problem:
    """A problem that is no RiddleError: what the framework found wrong. ``status`` overrules the table's."""
    return Problem(
        type=f"/problems/{code}",
        code=code,
        title=_TITLES.get(code, "Invalid request"),
        status=STATUS[code] if status is None else status,
        detail=detail,
        instance=f"/requests/{request_id}",
        errors=list(errors) or None,
    )


def problem_response(problem: Problem, headers: Mapping[str, str] | None = None, *, path: str = "") -> Response:
    """``path`` is what was asked for: some are interfaces whose clients read failures in their own way."""
    status, body = told(problem, path)
    sent = dict(headers or {})
    if problem.retry_after_ms is not None:
        sent["Retry-After"] = str(max(1, -(-problem.retry_after_ms // 1000)))
    if status == 401:
        sent["WWW-Authenticate"] = CHALLENGE
    return Response(body, status, sent, PROBLEM_TYPE)


def told(problem: Problem, path: str, authorization: str = "") -> tuple[int, bytes]:
    """Status and body of a problem as clients of ``path`` expect them; ``authorization`` is what the request showed."""
    status, members = dialect_of(path)(Failure(problem.code, problem.status, problem.detail, authorization))
    ours = problem.model_copy(update={"status": status}).model_dump(mode="json", exclude_none=True)
    return status, json.dumps({**ours, **members}, ensure_ascii=False, separators=(",", ":")).encode()


def request_id_of(request: Request) -> str:
    """The id that the middleware gave the request, ``-`` where it did not run."""
    found: object = request.scope.get("state", {}).get("request_id", "-")
    return str(found)


def add_problem_handlers(app: FastAPI) -> None:
    """Every failure of ``app`` leaves as a Problem; an unforeseen one as a 500 that tells nothing of the inside."""
    app.add_exception_handler(RiddleError, _on_riddle_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_unforeseen)


async def _on_riddle_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RiddleError)
    return problem_response(problem_of(error, request_id_of(request)), path=request.url.path)


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    if any(item["type"] == "json_invalid" for item in found):
        reason = str(found[0].get("ctx", {}).get("error", "not JSON"))
        problem = plain_problem("bad_syntax", f"the body is not valid JSON: {reason}", request_id_of(request))
        return problem_response(problem, path=request.url.path)
    if _lacks_content_type(request, found):
        detail = "send JSON with the header Content-Type: application/json"
        problem = plain_problem("unsupported_media_type", detail, request_id_of(request))
        return problem_response(problem, path=request.url.path)
    errors = field_errors(found, located=True)
    detail = "; ".join(f"{item.field}: {item.message}" if item.field else item.message for item in errors)
    problem = plain_problem("invalid_request", detail, request_id_of(request), errors=errors)
    return problem_response(problem, path=request.url.path)


def _lacks_content_type(request: Request, found: Sequence[Mapping[str, Any]]) -> bool:
    """FastAPI hands a body of another type on as bytes, which then is no object."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    whole_body = any(tuple(item["loc"]) == ("body",) and item["type"] != "missing" for item in found)
    return whole_body and not (kind == "application/json" or kind.endswith("+json"))


def field_errors(found: Iterable[Mapping[str, Any]], *, located: bool = False) -> list[FieldError]:
    """Pydantic's errors without the input, which may be long, secret or not printable.

    ``located``: as FastAPI gives them, with the part of the request in front of the field.
    """
    errors = []
    for item in found:
        path = [str(part) for part in item["loc"][int(located) :]]
        errors.append(FieldError(field=_printable(".".join(path)), message=_printable(_message(item))))
    return errors


def _message(item: Mapping[str, Any]) -> str:
    match item["type"]:
        case "extra_forbidden":
            return "unknown field"
        case "missing":
            return "is missing"
        case "string_pattern_mismatch" if item["ctx"]["pattern"] == r"\S":
            return "holds nothing but blanks"
    return str(item["msg"])


def _printable(text: str) -> str:
    return _encodable(text)[:300]


def _encodable(text: str) -> str:
    """Without lone surrogates, which JSON can name and UTF-8 cannot."""
    return text.encode("utf-8", "backslashreplace").decode()


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = _FRAMEWORK.get(error.status_code, "internal" if error.status_code >= 500 else "invalid_request")
    details = {
        404: f"nothing is at {request.url.path}",
        405: f"{request.url.path} does not take {request.method}",
        400: "the body cannot be read: it is not valid UTF-8, not valid JSON, or nested too deep",
    }
    stated = str(error.detail)
    generic = stated in ("Not Found", "Method Not Allowed", "There was an error parsing the body")
    detail = details.get(error.status_code, stated) if generic else stated
    problem = plain_problem(code, _printable(detail), request_id_of(request), status=error.status_code)
    return problem_response(problem, error.headers, path=request.url.path)


async def _on_unforeseen(request: Request, error: Exception) -> Response:
    request_id = request_id_of(request)
    detail = f"something went wrong that should not have; the server's log has it under {request_id}"
    log.error("%s %s failed, request %s: %s", request.method, request.url.path, request_id, type(error).__name__)
    # The server hangs up after such an error; a client that is told so does not use the connection again.
    headers = {"X-Request-ID": request_id, "Connection": "close"}
    return problem_response(plain_problem("internal", detail, request_id), headers, path=request.url.path)


PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": description, "model": Problem, "content": {PROBLEM_TYPE: {}}}
    for status, description in (
        (400, "The bytes are not what they claim to be"),
        (401, "No API key, or one that is not in force"),
        (403, "The key may not write, or a page of another site sent this"),
        (404, "Unknown collection, document, model, job or request"),
        (409, "The cursor belongs to a state that has passed, or the document has another version"),
        (413, "Over the limit on the body's size"),
        (415, "Not JSON"),
        (422, "A field is unknown, ill-typed or out of range"),
        (424, "A model is missing"),
        (429, "Too busy"),
        (503, "A part that this needs does not answer"),
    )
}
"""What the OpenAPI document says of failures; the schema is Problem's."""
