"""Parts that take seconds to load: loaded beside the requests, with a state that readiness can tell."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from retrieval.errors import RiddleError, Unavailable

T = TypeVar("T")

log = logging.getLogger("riddle.loading")


class Deferred(Generic[T]):
    """One thing that ``load`` makes, in a thread of its own. Thread-safe.

    A load that failed is tried again when someone asks and ``retry_s`` have passed: a model that is
    pulled while the service runs comes into use without a restart.
    """

    def __init__(self, name: str, load: Callable[[], T], retry_s: float = 10.0) -> None:
        self.name = name
        self._load = load
        self._retry_s = retry_s
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._made: list[T] = []
        self._error: RiddleError | None = None
        self._failed_at = 0.0

    def start(self) -> None:
        """Begin to load, unless it has begun."""
        with self._lock:
            if self._made or (self._thread is not None and self._thread.is_alive()):
                return
            self._thread = threading.Thread(target=self._run, name=f"load-{self.name}", daemon=True)
            self._thread.start()

    def get(self) -> T:
        """What was loaded. Raises the error that loading met, or Unavailable while it runs. Never waits."""
        if self._made:
            return self._made[0]
        error = self._error
        if error is None or time.monotonic() - self._failed_at >= self._retry_s:
            self.start()
        if error is not None:
            raise error
        raise Unavailable(f"the {self.name} is still loading", stage=self.name, retry_after_ms=1000)

    def wait(self) -> T:
        """What was loaded, waiting for it; for threads that may. Raises what loading raised."""
        self.start()
        thread = self._thread
        if thread is not None:
            thread.join()
        return self.get()

    @property
    def state(self) -> str:
        """``ok``, ``loading``, or why it could not be loaded. Asking starts a new attempt when one is due."""
        try:
            self.get()
        except Unavailable as error:
            return "loading" if self._error is None else error.detail
        except RiddleError as error:
            return error.detail
        return "ok"

    def _run(self) -> None:
        failure: RiddleError = Unavailable(f"the {self.name} failed to load; see the log", stage=self.name)
        try:
            self._made = [self._load()]
            self._error = None
            return
        except RiddleError as error:
            failure = error
            log.warning("the %s cannot be loaded: %s", self.name, error.detail)
        finally:
            # Reached too by an error nobody foresaw, which goes on to the thread's own report.
            if not self._made:
                self._error = failure
                self._failed_at = time.monotonic()
