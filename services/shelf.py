"""Encoders by name, each loaded once, and one that heeds the end of a query's budget."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout

from retrieval.errors import Unavailable
from retrieval.types import Encoder, EncoderSpec, Role, Vectors
from services.loading import Deferred


class EncoderShelf:
    """Encoders by name, each loaded once. Thread-safe.

    A collection is searched with the encoder that it was built with, whatever the settings name now.
    """

    def __init__(self, default: str, load: Callable[[str], Encoder]) -> None:
        self.default = default
        self._load = load
        self._lock = threading.Lock()
        self._held: dict[str, Deferred[Encoder]] = {}

    def start(self) -> None:
        """Begin to load the default encoder, where there is one."""
        if self.default:
            self._entry(self.default).start()

    def get(self, name: str) -> Encoder:
        """Raises ModelMissing, or Unavailable while it loads."""
        return self._entry(name).get()

    def wait(self, name: str) -> Encoder:
        return self._entry(name).wait()

    @property
    def state(self) -> str:
        return self._entry(self.default).state if self.default else "ok"

    def _entry(self, name: str) -> Deferred[Encoder]:
        with self._lock:
            if name not in self._held:
                self._held[name] = Deferred("encoder", lambda: self._load(name))
            return self._held[name]


class InTime:
    """An encoder that gives up when the query's budget is spent, so that recall goes on without it."""

    def __init__(self, inner: Encoder, ends: float, threads: ThreadPoolExecutor) -> None:
        self._inner = inner
        self._ends = ends
        self._threads = threads

    @property
    def spec(self) -> EncoderSpec:
        return self._inner.spec

    def encode(self, texts: Sequence[str], role: Role) -> Vectors:
        left = self._ends - time.monotonic()
        if left <= 0:
            raise Unavailable("the time for this search ended before its query was encoded", stage="embed")
        try:
            return self._threads.submit(self._inner.encode, texts, role).result(timeout=left)
        except FutureTimeout as error:
            raise Unavailable("the encoder took longer than this search had", stage="embed") from error
