"""A planted error changes what a statement says, is of the kind it claims, and stays in the statement's script."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.planted import KINDS, Kind, Language, folded, planted, planted_as, traditional
from eval.planted_words import CHINESE_OPPOSITES, ENGLISH_OPPOSITES

ENGLISH = (
    "The Eiffel Tower was opened in 1889 in Paris. It is 330 metres tall. Gustave Eiffel built it before the Fair. "
    "Most visitors come in July. London Bridge was rebuilt in 1973 by Harold Knox. The tower does not belong to Italy. "
    "It has 12,500 visitors a day, more than any other monument in France."
)
CHINESE = (
    "埃菲尔铁塔位于法国巴黎，1889年开放。铁塔高330米，是当时世界上最高的建筑。它由古斯塔夫·埃菲尔设计，"
    "没有得到所有人的支持。伦敦桥于1973年重建。设计者是哈罗德·诺克斯。每天约有三万名游客，在七个售票处买票。"
)


def english_sentences() -> list[str]:
    return [f"{each}." for each in ENGLISH.rstrip(".").split(". ")]


def chinese_sentences() -> list[str]:
    return [f"{each}。" for each in CHINESE.rstrip("。").split("。")]


@given(
    sentence=st.sampled_from(english_sentences() + chinese_sentences()),
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 10_000),
    hant=st.booleans(),
)
def test_a_changed_statement_differs_and_does_not_stand_in_the_passage(
    sentence: str, kind: Kind, seed: int, hant: bool
) -> None:
    language: Language = "zh" if sentence in CHINESE else "en"
    passage = CHINESE if language == "zh" else ENGLISH
    if hant and language == "zh":
        sentence, passage = traditional(sentence), traditional(passage)
    changed = planted_as(kind, sentence, passage, language, random.Random(seed))
    if changed is not None:
        assert folded(changed) != folded(sentence)
        assert changed not in passage
        # One place is changed: what is left and right of it stays.
        kept = _common(sentence, changed) + _common(sentence[::-1], changed[::-1])
        assert kept >= min(len(sentence), len(changed)) - 30


def _common(left: str, right: str) -> int:
    return next((at for at, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))


@given(sentence=st.text(max_size=80), passage=st.text(max_size=200), seed=st.integers(0, 100))
def test_any_text_can_be_tried(sentence: str, passage: str, seed: int) -> None:
    for language in ("en", "zh"):
        found = planted(sentence, passage, language, random.Random(seed))
        assert found is None or found[0] != sentence


@pytest.mark.parametrize(
    ("kind", "sentence", "wanted"),
    [
        ("unit", "It is 330 metres tall.", "It is 330 kilometres tall."),
        ("negation", "The tower does not belong to Italy.", "The tower does belong to Italy."),
        ("negation", "The Eiffel Tower was opened in 1889.", "The Eiffel Tower was not opened in 1889."),
        ("negation", "P53 regulates growth in mice.", "P53 does not regulate growth in mice."),
        ("antonym", "It has more visitors.", "It has less visitors."),
        ("negation", "铁塔位于法国巴黎。", "铁塔并不位于法国巴黎。"),
        ("negation", "它没有得到支持。", "它有得到支持。"),
        ("antonym", "是世界上最高的建筑。", "是世界上最低的建筑。"),
        ("unit", "铁塔高330米。", "铁塔高330公里。"),
        ("antonym", "車站在河的東側。", "車站在河的西側。"),
        ("antonym", "人口減少。", "人口增加。"),
        ("negation", "兩國沒有建交。", "兩國有建交。"),
    ],
)
def test_each_kind_changes_what_it_is_named_after(kind: Kind, sentence: str, wanted: str) -> None:
    language: Language = "en" if sentence.isascii() else "zh"
    assert planted_as(kind, sentence, "", language, random.Random(1)) == wanted


def test_names_come_from_the_passage_but_not_from_beside_the_old_one() -> None:
    passage = "He was born in Paris near Versailles. Later he moved to Lyon. His friend lived in Marseille."
    drawn = {planted_as("name", "He was born in Paris.", passage, "en", random.Random(seed)) for seed in range(40)}
    assert drawn == {"He was born in Lyon.", "He was born in Marseille."}


def test_a_bound_is_left_alone_because_another_one_may_hold_too() -> None:
    assert planted_as("number", "More than 100 people came.", "", "en", random.Random(1)) is None
    assert planted_as("number", "有超过100人参加。", "", "zh", random.Random(1)) is None


def test_years_stay_years_and_large_numbers_keep_their_commas() -> None:
    for seed in range(30):
        year = planted_as("number", "It opened in 1889.", ENGLISH, "en", random.Random(seed))
        many = planted_as("number", "It has 12,500 visitors.", "", "en", random.Random(seed))
        assert year is not None
        assert 1800 <= int(year.removeprefix("It opened in ").rstrip(".")) < 2031
        assert many is not None
        assert "," in many or int("".join(filter(str.isdigit, many))) < 1000 or len(many) < 24


def test_the_same_seed_plants_the_same_error() -> None:
    draws = [planted(english_sentences()[0], ENGLISH, "en", random.Random(7)) for _ in range(2)]
    assert draws[0] is not None
    assert draws[0] == draws[1]


def test_nothing_is_planted_where_nothing_can_be_changed_safely() -> None:
    assert planted("Oh dear!", "", "en", random.Random(1)) is None
    assert planted("天啊！", "", "zh", random.Random(1)) is None


def test_no_word_is_its_own_opposite() -> None:
    for table in (ENGLISH_OPPOSITES, CHINESE_OPPOSITES):
        assert [word for word, other in table.items() if word == other] == []
