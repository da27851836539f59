"""What a service's Prometheus metrics say, looked at from outside."""

from __future__ import annotations

import httpx
import pytest

from eval.live_view import (
    Sample,
    Sighting,
    cache_share,
    quantile,
    request_table,
    shares,
    since,
    stage_table,
)
from services.live_metrics import WatchedService, samples_in
from services.telemetry import Telemetry


def measured(searches: int = 4) -> Telemetry:
    telemetry = Telemetry()
    for number in range(searches):
        telemetry.observe_request("/v1/search", "POST", 200, 0.02)
        telemetry.observe_search({"dense": 4.0, "rerank": 60.0}, "hit" if number == 0 else "miss", ("rerank",))
    telemetry.answer_began()
    return telemetry


def watched(handler: httpx.MockTransport) -> WatchedService:
    url = "http://riddle.example"
    return WatchedService(url, lambda: httpx.Client(base_url=url, transport=handler), clock=lambda: 7.0)


def test_our_own_metrics_are_read_as_they_are_written() -> None:
    samples = samples_in(measured().render().decode())
    assert request_table(samples).rows == (("/v1/search", "POST", "200", 4, None),)
    stages = {row[0]: row for row in stage_table(samples).rows}
    assert stages["dense"][1] == 4
    assert stages["dense"][5] == pytest.approx(4.0)
    median = stages["rerank"][2]
    assert isinstance(median, float)
    assert 50 <= median <= 100
    assert cache_share(samples) == 0.25
    assert shares(samples, "riddle_degraded_total", "stage") == {"rerank": 4.0}


def test_rates_are_of_what_was_counted_between_two_looks() -> None:
    before = Sighting(10.0, True, "", samples_in(measured(4).render().decode()))
    after = Sighting(14.0, True, "", samples_in(measured(12).render().decode()))
    assert request_table(since(before, after), 4.0).rows == (("/v1/search", "POST", "200", 8, 2.0),)


def test_a_service_that_was_started_anew_counts_from_its_start() -> None:
    before = Sighting(10.0, True, "", samples_in(measured(12).render().decode()))
    after = Sighting(14.0, True, "", samples_in(measured(4).render().decode()))
    assert request_table(since(before, after)).rows[0][3] == 4


def test_a_quantile_is_taken_within_its_bucket_as_prometheus_does() -> None:
    buckets = [(0.1, 5.0), (0.2, 10.0), (float("inf"), 10.0)]
    assert quantile(buckets, 0.5) == pytest.approx(0.1)
    assert quantile(buckets, 0.75) == pytest.approx(0.15)
    assert quantile([(0.1, 0.0), (float("inf"), 3.0)], 0.5) == 0.1
    assert quantile([], 0.5) is None
    assert quantile([(0.1, 0.0)], 0.5) is None


def test_nothing_is_said_of_a_cache_that_was_asked_nothing() -> None:
    assert cache_share([Sample("riddle_cache_lookups_total", {"result": "miss"}, 0.0)]) is None


def test_a_service_is_looked_at_over_http() -> None:
    text = measured().render()

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=text if request.url.path == "/metrics" else b'{"parts":{}}')

    seen = watched(httpx.MockTransport(answer)).look()
    assert (seen.ready, seen.detail, seen.at) == (True, "ready", 7.0)
    assert seen.samples


def test_a_service_that_is_not_ready_says_which_part_is_not() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/metrics":
            return httpx.Response(200, content=measured().render())
        return httpx.Response(503, json={"detail": "not ready: encoder: loading"})

    seen = watched(httpx.MockTransport(answer)).look()
    assert (seen.ready, seen.detail) == (False, "not ready: encoder: loading")


@pytest.mark.parametrize("body", [b"<html>", b"{not a metric} x y z"])
def test_what_is_no_service_of_ours_is_said_and_not_raised(body: bytes) -> None:
    seen = watched(httpx.MockTransport(lambda request: httpx.Response(200, content=body))).look()
    assert not seen.ready
    assert "no metrics" in seen.detail


def test_a_service_that_is_away_is_a_sighting_too() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    seen = watched(httpx.MockTransport(answer)).look()
    assert (seen.ready, seen.samples) == (False, ())
    assert "is not reached" in seen.detail
