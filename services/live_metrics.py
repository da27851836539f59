"""Looks at a running service from outside, through its /readyz and /metrics."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from eval.live_view import Sample, Sighting

if TYPE_CHECKING:
    import httpx

LONGEST_S = 5.0


class WatchedService:
    """The seam of ``eval.live_view.Live`` over HTTP. ``client`` opens one with the service's address as its base."""

    def __init__(
        self, url: str, client: Callable[[], httpx.Client], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._url, self._client, self._clock = url, client, clock

    @property
    def url(self) -> str:
        return self._url

    def look(self) -> Sighting:
        import httpx

        try:
            with self._client() as client:
                ready = client.get("/readyz", timeout=LONGEST_S)
                told = client.get("/metrics", timeout=LONGEST_S)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return Sighting(self._clock(), False, f"{self.url} is not reached: {error}")
        if told.status_code != 200:
            return Sighting(self._clock(), False, f"{self.url}/metrics answered {told.status_code}")
        try:
            samples = samples_in(told.text)
        except ValueError as error:
            return Sighting(self._clock(), False, f"{self.url}/metrics holds no metrics of Prometheus: {error}")
        return Sighting(self._clock(), ready.status_code == 200, _detail(ready), samples)


def samples_in(text: str) -> tuple[Sample, ...]:
    """Every sample of the Prometheus text format. Raises ValueError for other text."""
    families = text_string_to_metric_families(text)
    return tuple(Sample(each.name, dict(each.labels), each.value) for family in families for each in family.samples)


def _detail(ready: httpx.Response) -> str:
    if ready.status_code == 200:
        return "ready"
    try:
        told = ready.json()
    except ValueError:
        return f"answered {ready.status_code}"
    return str(told.get("detail", f"answered {ready.status_code}")) if isinstance(told, dict) else "not ready"
