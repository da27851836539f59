"""Questions and answers become statements only by safe rules; sentences only shorter ones that still follow."""

from __future__ import annotations

import random

import pytest

from eval.statements import english_statement, shortened
from eval.statements_chinese import chinese_statement


@pytest.mark.parametrize(
    ("question", "answer", "statement"),
    [
        ("Who wrote the Methodist hymns?", "Charles Wesley", "Charles Wesley wrote the Methodist hymns."),
        ("Who was the last Ming leader?", "Chongzhen", "Chongzhen was the last Ming leader."),
        ("What is the oldest county in Liberia?", "Grand Bassa", "The oldest county in Liberia is Grand Bassa."),
        ("When was the Louvre opened?", "1793", "The Louvre was opened in 1793."),
        ("When did the war begin?", "October 22, 1911", "The war began on October 22, 1911."),
        ("Where was Napoleon born?", "Corsica", "Napoleon was born in Corsica."),
        ("What movie was shot at Samohi?", "17 Again", "17 Again was shot at Samohi."),
        ("How many people live in Bern?", "134,000", "134,000 people live in Bern."),
    ],
)
def test_an_english_question_becomes_its_statement(question: str, answer: str, statement: str) -> None:
    assert english_statement(question, answer) == statement


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Why did the war begin?", "hunger"),
        ("How did he die?", "in battle"),
        ("What was the ship called?", "Victory"),
        ("What city was Napoleon born in?", "Ajaccio"),
        ("When was the printed circuit released?", ""),
        ("Who was Luther arrested by?", "the emperor"),
        ("Which of them did he choose?", "the first"),
    ],
)
def test_an_unsafe_english_question_becomes_none(question: str, answer: str) -> None:
    assert english_statement(question, answer) is None


@pytest.mark.parametrize(
    ("question", "answer", "statement"),
    [
        ("范廷颂是什么时候被任为主教的？", "1963年", "范廷颂是1963年被任为主教的。"),
        ("2015年挑战K联赛增加到几支球队？", "11支", "2015年挑战K联赛增加到11支球队。"),
        ("沈云山有多高？", "高177米", "沈云山有177米。"),
        ("梅西尔72是哪个星座的星团？", "宝瓶座", "梅西尔72是宝瓶座的星团。"),
        ("拿破崙在哪一年過世?", "1873年", "拿破崙在1873年過世。"),
        ("誰認為地球是圓的?", "王怡", "王怡認為地球是圓的。"),
        ("请问，总部在什么地方？", "在香港", "总部在香港。"),
    ],
)
def test_a_chinese_question_takes_the_answer_in_its_place(question: str, answer: str, statement: str) -> None:
    assert chinese_statement(question, answer) == statement


@pytest.mark.parametrize(
    ("question", "answer"),
    [("沼泽乳草为什么特别？", "花蜜"), ("他是否参加？", "是"), ("海蟑螂生活在什么地方？", "海蟑螂生活在潮带")],
)
def test_an_unsafe_chinese_question_becomes_none(question: str, answer: str) -> None:
    assert chinese_statement(question, answer) is None


def test_a_shortened_sentence_says_no_more_than_the_whole() -> None:
    sentence = "In 1889, the tower (a wrought iron lattice) was opened in Paris, which had waited for it."
    drawn = {shortened(sentence, "en", random.Random(seed)) for seed in range(40)}
    assert len(drawn) > 2
    allowed = set(sentence.lower().replace(",", "").replace(".", "").split())
    assert all(set(each.lower().replace(",", "").replace(".", "").split()) <= allowed for each in drawn)
    chinese = "铁塔（一座建筑）于1889年在巴黎开放，高330米，是最高的建筑。"
    drawn = {shortened(chinese, "zh", random.Random(seed)) for seed in range(40)}
    assert drawn == {
        "铁塔于1889年在巴黎开放，高330米，是最高的建筑。",
        "铁塔于1889年在巴黎开放，高330米。",
        "铁塔于1889年在巴黎开放。",
    }  # fmt: skip
