"""How the interfaces that we stand in for say that something failed: members of theirs beside those of our problem.

RFC 9457 lets a problem have members of its own, so one body serves both kinds of readers: those of this
API find `code` and `detail`, and each peer's clients find what they parse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Failure:
    """What there is to say: our code for it, the status that our table gives it, and the text for people."""

    code: str
    status: int
    detail: str
    authorization: str = ""
    """The header of that name that the request came with."""


Members = Mapping[str, Any]
Dialect = Callable[[Failure], tuple[int, Members]]
"""The status and the members in which a peer's clients expect a failure."""


def plain(failure: Failure) -> tuple[int, Members]:
    """Ours: nothing beside the problem's own members, `detail` among them, which is what Jina's clients read."""
    return failure.status, {}


def openai(failure: Failure) -> tuple[int, Members]:
    """`{"error": {"message", "type", "param", "code"}}`; what is wrong with a request is 400 there, not 422."""
    status = 400 if failure.status == 422 else failure.status
    kind = "server_error" if status >= 500 else _OPENAI_TYPES.get(status, "invalid_request_error")
    code = _OPENAI_CODES.get(failure.code, failure.code)
    return status, {"error": {"message": failure.detail, "type": kind, "param": None, "code": code}}


def cohere(failure: Failure) -> tuple[int, Members]:
    """`{"message"}`."""
    return failure.status, {"message": failure.detail}


def tei(failure: Failure) -> tuple[int, Members]:
    """`{"error", "error_type"}`, the type one of text-embeddings-inference's five."""
    kind = _TEI_TYPES.get(failure.status, "Backend" if failure.status >= 500 else "Validation")
    return failure.status, {"error": failure.detail, "error_type": kind}


def dify(failure: Failure) -> tuple[int, Members]:
    """`{"error_code", "error_msg"}`; where Dify names no number for it, the status is the number."""
    number = _DIFY_CODES.get(failure.code, failure.status)
    if failure.code == "unauthorized":
        number = 1002 if failure.authorization.lower().startswith("bearer ") else 1001
    return failure.status, {"error_code": number, "error_msg": failure.detail}


_OPENAI_TYPES = {429: "rate_limit_error"}
_OPENAI_CODES = {"unauthorized": "invalid_api_key", "overloaded": "rate_limit_exceeded"}
_TEI_TYPES = {424: "Backend", 429: "Overloaded", 503: "Unhealthy"}
_DIFY_CODES = {"collection_not_found": 2001}

BY_PATH: Mapping[str, Dialect] = {
    "/v1/embeddings": openai,
    "/v1/models": openai,
    "/v1/rerank": cohere,
    "/v2/rerank": cohere,
    "/rerank": tei,
    "/embed": tei,
    "/info": tei,
    "/health": tei,
    "/retrieval": dify,
}
"""The interfaces that we stand in for."""


def dialect_of(path: str) -> Dialect:
    """The dialect that clients of ``path`` understand."""
    path = path.rstrip("/")
    return BY_PATH["/v1/models"] if path.startswith("/v1/models/") else BY_PATH.get(path, plain)
