"""A connection to one Elasticsearch index: requests with retries, what goes wrong in plain words, and bulk loading."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import httpx

from retrieval.errors import (
    BadSyntax,
    CollectionNotFound,
    Conflict,
    Forbidden,
    InvalidRequest,
    Overloaded,
    RiddleError,
    TooLarge,
    Unauthorized,
    Unavailable,
)
from retrieval.types import Document
from services.targets.elastic_address import ElasticAddress

STAGE = "elasticsearch"
TRIES = 4
"""Of a request that a busy or starting cluster refuses."""
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 10.0

BATCH, BATCH_BYTES = 1000, 4 << 20
_AGAIN = (429, 502, 503, 504)

Pause = Callable[[float], None]


class ElasticCluster:
    """One index over ``http``, which carries credentials and timeouts and stays its maker's. Thread-safe."""

    def __init__(self, address: ElasticAddress, http: httpx.Client, pause: Pause = time.sleep) -> None:
        self._address, self._http, self._pause = address, http, pause
        self._index = "/" + quote(address.index, safe=",*")

    def info(self) -> Mapping[str, Any]:
        """What the cluster says of itself. Raises Unavailable when it is no Elasticsearch, nor like one."""
        said = self._json("GET", "/")
        if not isinstance(said.get("version"), dict) or "number" not in said["version"]:
            raise Unavailable(f"{self._address.url} answers, but not as an Elasticsearch does", stage=STAGE)
        return said

    def mapping(self) -> dict[str, Any]:
        """The properties of all indices behind the name, the first to name a field deciding."""
        merged: dict[str, Any] = {}
        for each in self._of_indices("_mapping"):
            for name, said in each.get("mappings", {}).get("properties", {}).items():
                merged.setdefault(name, said)
        return merged

    def settings(self) -> dict[str, Any]:
        """The settings of the first index behind the name."""
        index: dict[str, Any] = self._of_indices("_settings")[0].get("settings", {}).get("index", {})
        return index

    def count(self) -> int:
        return int(self._json("GET", f"{self._index}/_count").get("count", 0))

    def search(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """The response of ``_search``. Raises Unavailable when some shards failed, for then it is not the whole."""
        found = self._json("POST", f"{self._index}/_search", json.dumps(body))
        failed = found.get("_shards", {}).get("failed", 0)
        if failed:
            why = _reason({"error": {"root_cause": [found["_shards"].get("failures", [{}])[0].get("reason", {})]}})
            raise Unavailable(f"{failed} shards of {self._address.index} did not answer: {why}", stage=STAGE)
        if found.get("timed_out"):
            raise Unavailable(f"{self._address.index} was not searched in time", stage=STAGE)
        return found

    def create(self, body: Mapping[str, Any]) -> None:
        """A new index. Raises Conflict when the name is taken."""
        self._json("PUT", self._index, json.dumps(body))

    def bulk(self, documents: Iterable[Document]) -> int:
        """Index documents under their ids and make them findable; how many.

        Raises what a request raises, and InvalidRequest for the first document that is refused.
        """
        count = 0
        for batch in _batches(documents):
            waiting = batch
            for attempt in range(TRIES):
                waiting = self._bulk(waiting)
                if not waiting:
                    break
                self._pause(FIRST_PAUSE_S * 2**attempt)
            if waiting:
                raise Overloaded(
                    f"{self._address.url} refuses {len(waiting)} documents: its queue is full", stage=STAGE
                )
            count += len(batch)
        self._json("POST", f"{self._index}/_refresh")
        return count

    def _bulk(self, batch: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Send one batch; what the cluster was too busy for comes back."""
        body = "".join(json.dumps({"index": {"_id": name}}) + "\n" + row + "\n" for name, row in batch)
        items = self._json("POST", f"{self._index}/_bulk", body).get("items", [])
        results = [item["index"] for item in items]
        if len(results) != len(batch):
            raise Unavailable(f"{self._address.url} answered for {len(results)} of {len(batch)} documents", stage=STAGE)
        for result in results:
            if result["status"] >= 400 and result["status"] != 429:
                raise InvalidRequest(f"document {result.get('_id')!r} was refused: {_reason(result)}")
        return [pair for pair, result in zip(batch, results, strict=True) if result["status"] == 429]

    def _of_indices(self, what: str) -> list[dict[str, Any]]:
        found = [each for _, each in sorted(self._json("GET", f"{self._index}/{what}").items())]
        if not found:
            raise CollectionNotFound(f"no index is called {self._address.index} at {self._address.url}")
        return found

    def _json(self, method: str, path: str, body: str | None = None) -> dict[str, Any]:
        for attempt in range(TRIES):
            response = self._send(method, path, body)
            if response.status_code not in _AGAIN or attempt == TRIES - 1:
                break
            self._pause(_asked_pause(response) or FIRST_PAUSE_S * 2**attempt)
        try:
            said = response.json()
        except ValueError:
            said = None
        if response.is_success and isinstance(said, dict):
            return said
        if response.is_success:
            raise Unavailable(f"{self._address.url} answers, but not as an Elasticsearch does", stage=STAGE)
        raise self._error(response.status_code, said if isinstance(said, dict) else {})

    def _send(self, method: str, path: str, body: str | None) -> httpx.Response:
        kind = "application/x-ndjson" if path.endswith("_bulk") else "application/json"
        headers = {"Content-Type": kind} if body is not None else {}
        try:
            return self._http.request(method, self._address.url + path, content=body, headers=headers)
        except httpx.TransportError as error:
            hint = "is it running, and is the address right?"
            if "CERTIFICATE" in str(error):
                hint = "SSL_CERT_FILE names the certificate of an authority of your own (Elasticsearch's http_ca.crt)"
            why = f"{type(error).__name__}: {error}"
            raise Unavailable(
                f"no answer from Elasticsearch at {self._address.url} ({why}); {hint}", stage=STAGE
            ) from error

    def _error(self, status: int, said: Mapping[str, Any]) -> RiddleError:
        address, why = self._address, _reason(said)
        match status:
            case 401:
                given = "these credentials are not valid" if self._authorised else "it wants credentials"
                return Unauthorized(f"{address.url}: {given}; give USER:PASSWORD@ in the address, or an API key")
            case 403:
                return Forbidden(f"{address.url}: these credentials may not read {address.index}: {why}")
            case 404:
                return CollectionNotFound(f"no index is called {address.index} at {address.url}; {self._there()}")
            case 413:
                return TooLarge(f"{address.url} refuses a request of that size (http.max_content_length)")
            case 429:
                return Overloaded(f"{address.url} is too busy: {why}", stage=STAGE, retry_after_ms=1000)
            case 400 if "resource_already_exists" in json.dumps(said):
                return Conflict(f"there is an index {address.index} at {address.url} already")
            case 400:
                return InvalidRequest(f"{address.index} cannot be searched like this: {why}")
            case _ if status >= 500:
                return Unavailable(f"{address.url} answered {status}: {why}", stage=STAGE)
        return BadSyntax(f"{address.url} answered {status}: {why}")

    @property
    def _authorised(self) -> bool:
        return self._http.auth is not None or "authorization" in self._http.headers

    def _there(self) -> str:
        """Which indices there are instead, as far as one may see them."""
        response = self._send("GET", "/_cat/indices?h=index&format=json&expand_wildcards=open", None)
        try:
            names = sorted(each["index"] for each in response.json())
        except (ValueError, TypeError, KeyError):
            return "and which there are may not be seen"
        shown = [name for name in names if not name.startswith(".")]
        return f"there are {', '.join(shown[:20])}" if shown else "there is none yet"


def _batches(documents: Iterable[Document]) -> Iterator[list[tuple[str, str]]]:
    """Ids and rows, some megabytes at a time."""
    batch: list[tuple[str, str]] = []
    size = 0
    for each in documents:
        row = {"document_id": each.document_id, "title": each.title, "text": each.text}
        batch.append((each.document_id, json.dumps(row, ensure_ascii=False)))
        size += len(batch[-1][1])
        if len(batch) == BATCH or size > BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _asked_pause(response: httpx.Response) -> float:
    said = response.headers.get("retry-after", "")
    return min(float(said), LONGEST_PAUSE_S) if said.isdigit() else 0.0


def _reason(said: Mapping[str, Any]) -> str:
    """The innermost reason of an error, on one line."""
    error = said.get("error")
    if not isinstance(error, dict):
        return str(error or "it does not say why")
    causes = error.get("root_cause") or [error]
    cause = error.get("caused_by") or causes[0]
    return " ".join(str(cause.get("reason") or error.get("reason") or error.get("type")).split())[:300]
