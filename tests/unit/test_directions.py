"""Words of direction: found in their form, put in other words, turned around."""

from __future__ import annotations

import random

import pytest

from eval.directions import directions, opposed, reversed_, reworded


def found(text: str) -> list[str]:
    return [text[each.start : each.end] for each in directions(text)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Folate reduces homocysteine.", ["reduces"]),
        ("Mice lacking Ku raised an increased response.", ["lacking", "raised", "increased"]),
        ("It does not increase with age, and the increase is small.", ["increase"]),
        ("An increase in age is associated with risk.", ["increase in", "associated with"]),
        ("Higher education and the lower back.", []),
        ("The well-reduced form.", []),
        ("Nothing of the sort.", []),
    ],
)
def test_words_of_direction_are_found_where_they_are_one(text: str, words: list[str]) -> None:
    assert found(text) == words


def test_each_has_others_of_its_sense_and_opposites_in_the_same_form() -> None:
    (only,) = directions("Folate reduces homocysteine.")
    assert "lowers" in only.same
    assert "reduces" not in only.same
    assert "raises" in only.opposite
    assert not set(only.same) & set(only.opposite)


def test_a_statement_in_other_words_keeps_its_direction() -> None:
    said = {reworded("Folate reduces homocysteine.", random.Random(seed)) for seed in range(40)}
    assert said == {f"Folate {each} homocysteine." for each in ("decreases", "lowers", "diminishes", "attenuates")}


def test_turned_around_it_says_the_opposite() -> None:
    said = {reversed_("Reduced folate harms.".replace(" harms", " is seen"), random.Random(seed)) for seed in range(40)}
    assert "Increased folate is seen." in said
    assert not any("educed" in str(each) for each in said)


def test_only_one_word_of_direction_is_turned_around_for_certain() -> None:
    two = "Increased folate reduces homocysteine."
    assert reversed_(two, random.Random(1)) is None
    changed = {opposed(two, random.Random(seed)) for seed in range(60)}
    assert all(("Increased" in str(each)) != ("reduces" in str(each)) for each in changed)


def test_a_and_an_follow_the_new_word() -> None:
    said = {reversed_("It has an increased risk.", random.Random(seed)) for seed in range(40)}
    assert "It has a reduced risk." in said
    assert {reversed_("It has a reduced risk.", random.Random(seed)) for seed in range(40)} >= {
        "It has an increased risk."
    }


def test_nothing_to_change_is_said() -> None:
    assert reworded("Nothing of the sort.", random.Random(1)) is None
    assert reversed_("Nothing of the sort.", random.Random(1)) is None
    assert opposed("Nothing of the sort.", random.Random(1)) is None
