"""The gateway's ports over HTTP: one pool of connections a service, deadlines, errors as they were raised there."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TypeVar
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter, ValidationError

from retrieval import errors
from retrieval.errors import RiddleError, Unavailable
from retrieval.types import Candidate, CollectionInfo, Document, Ranked, Recalled
from services.auth import token_headers
from services.breaker import Breaker
from services.hops import (
    CHANGES,
    COLLECTION,
    DOCUMENT,
    MADE,
    NAME,
    NEW_COLLECTION,
    NOTHING,
    PIPELINE,
    RANK_CALL,
    RANK_REPLY,
    READ_CALL,
    RECALL_CALL,
    RECALLED,
    RIGHTS,
    VIEW,
    VIEWS,
    WRITTEN,
    RankCall,
    ReadCall,
    ranked_from,
)
from services.middleware import REQUEST_ID
from services.ports import CollectionView, NewCollection, Put, RecallRequest, Remove, Rights, Written

T = TypeVar("T")

log = logging.getLogger("riddle.clients")

GRACE_MS = 100.0
"""What a service may take beyond the deadline it was given before the caller stops waiting."""

_CLASSES: Mapping[str, type[RiddleError]] = {
    each.code: each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, RiddleError)
}


def http_client(url: str, timeout_s: float, token: str = "") -> httpx.AsyncClient:
    """Connections to one service, kept open; a proxy of the environment is not for traffic between our own.

    ``token`` is the secret that our services share.
    """
    return httpx.AsyncClient(
        base_url=url.rstrip("/"),
        headers=token_headers(token),
        timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, 1.0), pool=min(timeout_s, 1.0)),
        limits=httpx.Limits(max_connections=64, max_keepalive_connections=32, keepalive_expiry=60),
        trust_env=False,
        verify=_tls(),
    )


@cache
def _tls() -> ssl.SSLContext:
    """Reading the certificates takes longer than all else about a client; one reading does for all."""
    return httpx.create_ssl_context()


class Hop:
    """Calls of one service. After three failures in a row it is not asked, but for a trial now and then."""

    def __init__(self, http: httpx.AsyncClient, stage: str, breaker: Breaker | None = None) -> None:
        self.stage = stage
        self._http = http
        self._breaker = breaker or Breaker(threshold=3, cooldown_s=0.5, longest_s=5.0)

    async def call(
        self,
        method: str,
        path: str,
        reply: TypeAdapter[T],
        body: bytes | None = None,
        deadline_ms: float | None = None,
        timeout_s: float | None = None,
    ) -> T:
        """``timeout_s`` takes the place of the client's own for a call that may take longer.

        Raises what the service raised, or Unavailable when it does not answer, or nothing sensible.
        """
        if self._breaker.open and not self._breaker.trial_due():
            raise Unavailable(
                f"the {self.stage} service at {self._http.base_url} does not answer",
                stage=self.stage,
                retry_after_ms=self._breaker.wait_ms,
            )
        try:
            response = await self._send(method, path, body, deadline_ms, timeout_s)
        except (httpx.TransportError, TimeoutError) as error:
            self._breaker.failed()
            raise Unavailable(
                f"the {self.stage} service at {self._http.base_url} does not answer ({type(error).__name__})",
                stage=self.stage,
                retry_after_ms=1000,
            ) from error
        self._breaker.succeeded()
        if response.is_success:
            return self._read(response, reply)
        raise problem_error(response, self.stage)

    async def parts(self) -> Mapping[str, str]:
        """What ``/readyz`` says, or that nobody is there."""
        try:
            response = await self._send("GET", "/readyz", None, 2000.0)
            parts = response.json()["parts"]
        except (httpx.TransportError, TimeoutError):
            return {self.stage: f"the service at {self._http.base_url} does not answer"}
        except (ValueError, KeyError, TypeError):
            return {self.stage: f"the service at {self._http.base_url} answers something else"}
        return {str(name): str(state) for name, state in parts.items()}

    async def aclose(self) -> None:
        await self._http.aclose()

    async def _send(
        self, method: str, path: str, body: bytes | None, deadline_ms: float | None, timeout_s: float | None = None
    ) -> httpx.Response:
        headers = {"X-Request-ID": REQUEST_ID.get()} if REQUEST_ID.get() else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        seconds = None if deadline_ms is None else (deadline_ms + GRACE_MS) / 1000
        usual = self._http.timeout
        timeout = usual if timeout_s is None else httpx.Timeout(timeout_s, connect=usual.connect, pool=usual.pool)
        async with asyncio.timeout(seconds):
            return await self._http.request(method, path, content=body, headers=headers, timeout=timeout)

    def _read(self, response: httpx.Response, reply: TypeAdapter[T]) -> T:
        try:
            return reply.validate_json(response.content)
        except ValidationError as error:
            log.warning("the %s service answered what cannot be read: %s", self.stage, error)
            raise Unavailable(
                f"the {self.stage} service at {self._http.base_url} answered what cannot be read", stage=self.stage
            ) from error


def problem_error(response: httpx.Response, stage: str) -> RiddleError:
    """What a failed response stands for; Unavailable when its body is no problem of ours."""
    return error_of(response.content, Unavailable(f"{stage} answered with status {response.status_code}", stage=stage))


def error_of(problem: bytes, otherwise: RiddleError) -> RiddleError:
    """The error that a problem body stands for, with its own class, detail, stage and patience."""
    try:
        said = json.loads(problem)
        kind = _CLASSES.get(said["code"], RiddleError)
        return kind(str(said["detail"]), stage=said.get("stage"), retry_after_ms=said.get("retry_after_ms"))
    except (ValueError, KeyError, TypeError):
        return otherwise


class RecallClient:
    """RecallPort over HTTP. ``write_timeout_s`` is the patience for a batch, whose texts may have to be encoded."""

    def __init__(self, http: httpx.AsyncClient, write_timeout_s: float = 300.0) -> None:
        self._hop = Hop(http, "recall")
        self._write_timeout_s = write_timeout_s

    async def collections(self, rights: Rights) -> list[CollectionView]:
        return await self._hop.call("POST", "/v1/collections", VIEWS, RIGHTS.dump_json(rights))

    async def view(self, collection: str, rights: Rights) -> CollectionView:
        return await self._hop.call("POST", _collection(collection), VIEW, RIGHTS.dump_json(rights))

    async def describe(self, collection: str) -> CollectionInfo:
        return await self._hop.call("GET", _collection(collection), COLLECTION)

    async def recall(self, request: RecallRequest) -> Recalled:
        # No deadline on the wait: the service keeps it by leaving channels out, and always answers.
        return await self._hop.call("POST", "/v1/recall", RECALLED, RECALL_CALL.dump_json(request))

    async def document(self, collection: str, document_id: str, rights: Rights) -> Document:
        path = f"{_collection(collection)}/documents/{_segment(document_id)}"
        return await self._hop.call("POST", path, DOCUMENT, RIGHTS.dump_json(rights))

    async def write(self, collection: str, changes: Sequence[Put | Remove]) -> Written:
        body = CHANGES.dump_json(list(changes))
        path = f"{_collection(collection)}/changes"
        return await self._hop.call("POST", path, WRITTEN, body, timeout_s=self._write_timeout_s)

    async def create(self, collection: str, wanted: NewCollection) -> bool:
        body = NEW_COLLECTION.dump_json(wanted)
        return await self._hop.call("PUT", _collection(collection), MADE, body, timeout_s=self._write_timeout_s)

    async def drop(self, collection: str) -> None:
        await self._hop.call("DELETE", _collection(collection), NOTHING)

    async def set_alias(self, alias: str, collection: str) -> None:
        await self._hop.call("PUT", f"/v1/aliases/{_segment(alias)}", NOTHING, NAME.dump_json(collection))

    async def remove_alias(self, alias: str) -> None:
        await self._hop.call("DELETE", f"/v1/aliases/{_segment(alias)}", NOTHING)

    async def ready(self) -> Mapping[str, str]:
        return await self._hop.parts()

    async def aclose(self) -> None:
        await self._hop.aclose()


class RankClient:
    """RankPort over HTTP."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._hop = Hop(http, "rerank")
        self._version = ""

    @property
    def version(self) -> str:
        """As the service said last; empty until it has said."""
        return self._version

    async def rank(
        self, query: str, candidates: Sequence[Candidate], *, depth: int, deadline_ms: float | None
    ) -> Ranked:
        call = RankCall(query=query, candidates=list(candidates), depth=depth, deadline_ms=deadline_ms)
        return await self._placed("/v1/rank", RANK_CALL.dump_json(call), candidates, deadline_ms)

    async def read(
        self, query: str, candidates: Sequence[Candidate], *, depth: int, whole: bool, deadline_ms: float | None
    ) -> Ranked:
        call = ReadCall(query=query, candidates=list(candidates), depth=depth, whole=whole, deadline_ms=deadline_ms)
        return await self._placed("/v1/read", READ_CALL.dump_json(call), candidates, deadline_ms)

    async def _placed(
        self, path: str, body: bytes, candidates: Sequence[Candidate], deadline_ms: float | None
    ) -> Ranked:
        reply = await self._hop.call("POST", path, RANK_REPLY, body, deadline_ms)
        self._version = reply.version
        try:
            return ranked_from(reply, candidates)
        except ValueError as error:
            raise Unavailable(f"the rank service lost passages: {error}", stage="rerank") from error

    async def ready(self) -> Mapping[str, str]:
        return await self._hop.parts()

    async def refresh(self) -> None:
        """Learn the pipeline's version. Raises Unavailable."""
        self._version = (await self._hop.call("GET", "/v1/pipeline", PIPELINE, None, 2000.0)).version

    async def watch(self, every_s: float = 5.0) -> None:
        """Keep the version current, so that results of a pipeline that was replaced leave the cache's way."""
        while True:
            try:
                await self.refresh()
            except RiddleError as error:
                log.debug("the rank service's version is not known: %s", error.detail)
            await asyncio.sleep(every_s)

    async def aclose(self) -> None:
        await self._hop.aclose()


def _segment(text: str) -> str:
    """One path segment; ``.`` and ``..`` would be resolved away on the way, slashes would split it."""
    quoted = quote(text, safe="")
    return quoted.replace(".", "%2E") if quoted in (".", "..") else quoted


def _collection(name: str) -> str:
    return f"/v1/collections/{_segment(name)}"
