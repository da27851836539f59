"""A person goes through drafts with one key each, stops anywhere, and goes on there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from eval.datasets import open_dataset
from eval.drafts import read_drafts, write_drafts
from eval.review import Reviewed, review
from tests.unit.test_drafts import draft


class Person:
    """Presses these keys and types these lines; then there are no more."""

    def __init__(self, keys: str, lines: tuple[str, ...] = ()) -> None:
        self._keys: Iterator[str] = iter(keys)
        self._lines = iter(lines)
        self.told: list[str] = []

    def go(self, path: Path) -> Reviewed:
        return review(path, lambda: next(self._keys, ""), lambda asked: next(self._lines), self.told.append)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "drafts.jsonl"
    write_drafts(path, [draft(number) for number in range(4)])
    return path


def statuses(path: Path) -> list[str]:
    return [each.status for each in read_drafts(path)]


def test_each_key_does_what_it_says(path: Path) -> None:
    assert Person("arsa").go(path) == Reviewed(accepted=2, rejected=1, left=1)
    assert statuses(path) == ["accepted", "rejected", "draft", "accepted"]


def test_what_was_decided_is_kept_when_a_person_stops(path: Path) -> None:
    assert Person("aq").go(path).left == 3
    again = Person("r")
    assert again.go(path) == Reviewed(accepted=1, rejected=1, left=2)
    assert again.told[0].startswith("\n1 of 3\n  question  Question 1?")


def test_an_edited_draft_is_accepted_as_it_was_typed(path: Path) -> None:
    Person("ee", ("When?", "", "", "another answer")).go(path)
    first, second, *_ = read_drafts(path)
    assert (first.question, first.answers, first.rank) == ("When?", ("an answer",), None)
    assert (second.question, second.answers, second.rank) == ("Question 1?", ("another answer",), 3)
    assert [first.status, second.status, first.edited, second.edited] == ["accepted", "accepted", True, True]


def test_an_edit_that_changes_nothing_is_none(path: Path) -> None:
    Person("e", ("", "")).go(path)
    assert (read_drafts(path)[0].status, read_drafts(path)[0].edited) == ("accepted", False)


def test_an_unknown_key_asks_again(path: Path) -> None:
    person = Person("xA")
    assert person.go(path).accepted == 1
    assert person.told[1].startswith("'x' is none of: a accept")


def test_only_what_was_accepted_is_a_set(path: Path) -> None:
    Person("raq").go(path)
    found = open_dataset(path)
    assert {query_id: each.text for query_id, each in found.questions.items()} == {"d1": "Question 1?"}
    assert found.questions["d1"].answers == ("an answer",)
    assert found.qrels == {"d1": {"gate": 1}}
