"""Mixes two rankings of one query into one list, so that clicks tell which ranker people find better."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Literal, TypeVar

from retrieval.types import Candidate

T = TypeVar("T")
Team = Literal["a", "b"]


@dataclass(frozen=True, slots=True)
class Drafted(Generic[T]):
    """The list to show, and who put each item there."""

    items: tuple[T, ...]
    teams: tuple[Team, ...]


def team_draft(
    a: Sequence[T], b: Sequence[T], k: int, draw: random.Random, name: Callable[[T], Hashable] = lambda item: item
) -> Drafted[T]:
    """Team draft (Radlinski, Kurup and Joachims, CIKM 2008): two captains pick in turn, each its best that is left.

    In each round a coin says who picks first, so that either team is as likely to stand higher, and two rankers of
    one mind win as often. ``name`` tells what is the same item in both. When one ranking is used up the other
    picks alone.
    """
    items: list[T] = []
    teams: list[Team] = []
    taken: set[Hashable] = set()
    rankings: dict[Team, list[T]] = {"a": list(reversed(a)), "b": list(reversed(b))}
    while len(items) < k:
        order: list[Team] = ["a", "b"] if draw.random() < 0.5 else ["b", "a"]
        before = len(items)
        for team in order:
            left = rankings[team]
            while left and name(left[-1]) in taken:
                left.pop()
            if left and len(items) < k:
                item = left.pop()
                taken.add(name(item))
                items.append(item)
                teams.append(team)
        if len(items) == before:
            break
    return Drafted(tuple(items), tuple(teams))


def interleaved(
    a: Sequence[Candidate], b: Sequence[Candidate], names: tuple[str, str], k: int, seed: str
) -> tuple[Candidate, ...]:
    """Two orders of the same candidates as one of ``k``, each naming its ranker in ``team``.

    ``names`` are what the log calls the two rankers, such as a model's hash and ``fused``. The draw depends on
    ``seed`` alone: that of the session and the query keeps the pages of one search, and its repetitions, alike.
    Raises ValueError when both have one name.
    """
    if names[0] == names[1]:
        raise ValueError(f"two rankers called {names[0]!r} cannot be told apart")
    draw = random.Random(hashlib.sha256(seed.encode()).digest())
    drafted = team_draft(a, b, k, draw, lambda candidate: candidate.passage.passage_id)
    called = {"a": names[0], "b": names[1]}
    return tuple(replace(item, team=called[team]) for item, team in zip(drafted.items, drafted.teams, strict=True))
