"""When to stop asking a server that does not answer, and when to try it again."""

from __future__ import annotations

import time
from collections.abc import Callable


class Breaker:
    """Opens after ``threshold`` failures in a row; then lets one trial through every ``cooldown_s``.

    The pause doubles with each failed trial up to ``longest_s``. A success closes it. Not for
    several threads: it lives on one event loop.
    """

    def __init__(
        self,
        threshold: int = 1,
        cooldown_s: float = 0.5,
        longest_s: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._threshold = threshold
        self._first = cooldown_s
        self._longest = longest_s
        self._clock = clock
        self._failures = 0
        self._pause = cooldown_s
        self._retry_at = 0.0

    @property
    def open(self) -> bool:
        return self._failures >= self._threshold

    @property
    def wait_ms(self) -> int:
        """Until the next trial may run."""
        return max(0, round((self._retry_at - self._clock()) * 1000)) if self.open else 0

    def trial_due(self) -> bool:
        """Whether an open breaker lets a trial through now; the one who asks is the one who tries."""
        if not self.open or self._clock() < self._retry_at:
            return False
        self._retry_at = self._clock() + self._pause
        return True

    def succeeded(self) -> None:
        self._failures = 0
        self._pause = self._first

    def failed(self) -> None:
        if self.open:
            self._pause = min(self._pause * 2, self._longest)
        self._failures += 1
        self._retry_at = self._clock() + self._pause
