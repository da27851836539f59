"""A service of our own for as long as a bench lasts: started on a free port, searched and changed over HTTP, ended."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.bench.churn import Found
from eval.usage_rows import MACHINES
from retrieval.changes import Change, Upsert
from retrieval.errors import Conflict, RiddleError, Unavailable
from retrieval.types import Vectors

if TYPE_CHECKING:
    import httpx

START_S = 300.0
"""How long a service may take to answer /readyz before the bench gives up."""

K = 10

MEASURING = {"X-Riddle-Session": f"{MACHINES}-bench"}
"""What requests of a bench say, so that a service's figures of use leave them out."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A service that answers: its address, its process, and the seconds that it took to get ready."""

    address: str
    process: int
    ready_s: float


@contextlib.contextmanager
def started(home: Path, config: Path | None = None) -> Iterator[Trial]:
    """A service on a free port with an empty cache. Raises Unavailable when it does not get ready."""
    import httpx

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "services.cli", "up", "--home", str(home), "--port", str(port)]
    began = time.monotonic()
    server = subprocess.Popen(command + (["--config", str(config)] if config else []), stdout=subprocess.DEVNULL)
    try:
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{address}/readyz", timeout=5).status_code == 200:
                    break
            if server.poll() is not None or time.monotonic() - began > START_S:
                raise Unavailable(
                    "the service did not get ready; `riddle doctor` says what is missing", stage="gateway"
                )
            time.sleep(0.1)
        yield Trial(address, server.pid, time.monotonic() - began)
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:
            server.kill()
            raise RiddleError("the service did not stop within 60 s of SIGTERM") from None


@dataclass(frozen=True, slots=True)
class OpenGateway:
    """Opens one collection of a running service in the process that calls it."""

    address: str
    collection: str

    def __call__(self) -> GatewayTarget:
        import httpx

        return GatewayTarget(
            httpx.Client(base_url=self.address, timeout=120, headers=MEASURING, trust_env=False), self.collection
        )


class GatewayTarget:
    """A collection behind a gateway, by the seam of ``eval.bench.churn.Target``. Thread-safe.

    The gateway encodes the words of a query itself, so a given vector is not looked for; rows bring their own.
    """

    channels = frozenset({"lexical"})

    def __init__(self, client: httpx.Client, collection: str) -> None:
        self._client, self._collection = client, collection

    def ask(self, text: str, filters: Mapping[str, Any] | None, *, explain: bool = False) -> Mapping[str, Any]:
        """One hybrid search, not reranked. Raises Unavailable for a failure, and for an answer that is not whole."""
        body = {
            "collection": self._collection,
            "query": text,
            "k": K,
            "explain": explain,
            "ranking": {"rerank": {"depth": 0}},
        }
        response = self._client.post("/v1/search", json=body if filters is None else body | {"filters": dict(filters)})
        if response.status_code != 200:
            raise Unavailable(f"a search answered {response.status_code}: {response.text[:300]}")
        answer: Mapping[str, Any] = response.json()
        if answer["degraded"] or answer["cache"] != "miss":
            raise Unavailable(f"a search was degraded ({answer['degraded']}) or not computed ({answer['cache']})")
        return answer

    def search(self, text: str, vector: Vectors) -> Sequence[Found]:
        return [
            Found(
                result["document_id"],
                int(result["metadata"].get("batch", -1)),
                frozenset(result["explain"] or ()) & {"lexical", "dense"},
            )
            for result in self.ask(text, None, explain=True)["results"]
        ]

    def write(self, changes: Sequence[Change]) -> None:
        """Raises Conflict when a change is refused, Unavailable when the batch is."""
        body = b"\n".join(line for change in changes for line in _lines(change)) + b"\n"
        path = f"/v1/collections/{self._collection}/_bulk"
        response = self._client.post(path, content=body, headers={"Content-Type": "application/x-ndjson"})
        if response.status_code != 200:
            raise Unavailable(f"a batch answered {response.status_code}: {response.text[:300]}")
        answer = response.json()
        if answer["errors"]:
            refused = [item for item in answer["items"] if next(iter(item.values()))["status"] >= 400]
            raise Conflict(f"{len(refused)} changes were refused, the first: {refused[0]}")


def _lines(change: Change) -> list[bytes]:
    if not isinstance(change, Upsert):
        return [json.dumps({"delete": {"_id": change.document_id}}).encode()]
    document = change.document
    body = {
        "text": document.text,
        "title": document.title,
        "metadata": dict(document.metadata),
        "acl": list(document.acl),
        "vector": [round(value, 5) for value in change.vectors[0].tolist()],
    }
    return [json.dumps({"index": {"_id": document.document_id}}).encode(), json.dumps(body).encode()]


@dataclass(frozen=True, slots=True)
class RunningGateway:
    """A started service as ``eval.bench.served`` asks it."""

    trial: Trial
    target: OpenGateway
    client: GatewayTarget

    @property
    def process(self) -> int:
        return self.trial.process

    @property
    def ready_s(self) -> float:
        return self.trial.ready_s

    def search(self, text: str, filters: Mapping[str, Any] | None) -> object:
        return self.client.ask(text, filters)


@contextlib.contextmanager
def running(home: Path, config: Path | None, collection: str) -> Iterator[RunningGateway]:
    """A started service, and one collection of it."""
    with started(home, config) as trial:
        target = OpenGateway(trial.address, collection)
        yield RunningGateway(trial, target, target())
