"""Progress without a terminal: a line when a stage begins, then one every half minute, with rate and time left."""

from __future__ import annotations

from dataclasses import replace

from indexing.progress import Progress
from services.progress import EVERY_S, Lines, pace


def test_a_stage_says_that_it_begins_and_every_half_minute_how_far_it_is() -> None:
    now = 0.0
    said: list[str] = []
    lines = Lines(said.append, lambda: now)
    progress = Progress("reading", 0, None, 0)
    lines(progress)
    now = 5.0
    lines(replace(progress, done=10))
    now = EVERY_S
    lines(replace(progress, done=60))
    embedding = Progress("embedding", 0, 4000, 2)
    now = EVERY_S + 1
    lines(embedding)
    now = 2 * EVERY_S + 1
    lines(replace(embedding, done=1000, rate_per_s=33.3, eta_s=90))
    assert said == [
        "reading …",
        "reading 60",
        "embedding 4,000 …",
        "embedding 1,000 of 4,000 (25%)  33.3/s  1:30 left  2 set aside",
    ]


def test_time_left_is_told_in_hours_where_it_takes_them() -> None:
    assert pace(Progress("embedding", 1, 2, 0, 0.5, 3 * 3600 + 62)) == "0.5/s  3:01:02 left"
    assert pace(Progress("embedding", 1, 2, 0)) == ""
