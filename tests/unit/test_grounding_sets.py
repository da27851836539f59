"""The sets of statements: what a pair's label says is so, and the parts share no article, claim or abstract."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from eval.grounding_cases import ABSENT, CONTRADICTED, SUPPORTED, Case, Pair, around, pairs_of
from eval.grounding_measure import held_apart
from eval.grounding_science import abstracts, claims
from eval.grounding_sets import Part, part_of, questions, thirds
from eval.train.mixture import choices, mixture, read_pairs, write_pairs
from retrieval.errors import InvalidRequest
from tests.grounding import write_scifact, write_squad
from tests.requires import need

SENTENCES = (
    "The tower was opened in 1889.", "It is 330 metres tall.", "Visitors come from Italy.", "The bridge is old.",
)  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny sets in the layout of the real ones."""
    folder = tmp_path_factory.mktemp("sets")
    write_scifact(folder / "scifact")
    english = {
        f"City {number}": [
            (
                f"The tower of Place{number} was opened in {1700 + number}. It was built by Mason{number}. "
                f"{number + 40} people live in the old town. The river does not cross Place{number}.",
                [
                    ("When was the tower opened?", str(1700 + number)),
                    ("Who built the tower?", f"Mason{number}"),
                    ("How many people live in the old town?", str(number + 40)),
                ],
            ),
            (f"The park of Place{number} is large. It was opened by Gardener{number} in the north.", [
                ("Who opened the park?", f"Gardener{number}"),
            ]),
        ]
        for number in range(60)
    }  # fmt: skip
    chinese = {
        f"城市{number}": [
            (
                f"铁塔位于城市{number}，于{1700 + number}年开放。铁塔高{number + 20}米，"
                "是最高的建筑。设计者没有来自法国。",
                [("铁塔是什么时候开放的？", f"{1700 + number}年"), ("铁塔有多高？", f"高{number + 20}米")],
            )
        ]
        for number in range(60)
    }
    write_squad(folder / "squad" / "train-v1.1.json.gz", english)
    for name in ("cmrc2018/train.json.gz", "cmrc2018/trial.json.gz", "drcd/dev.json.gz"):
        write_squad(folder / name, chinese)
    return folder


def test_a_case_gives_a_pair_of_each_verdict() -> None:
    case = Case(
        "The tower was opened in 1889.", SENTENCES, 0, "en", "question", "squad", "Tower",
        " ".join(SENTENCES), ("The park was closed.",), "1889",
    )  # fmt: skip
    for seed in range(30):
        pairs = {pair.label: pair for pair in pairs_of(case, 60, random.Random(seed))}
        assert set(pairs) == {SUPPORTED, CONTRADICTED, ABSENT}
        assert "1889" in pairs[SUPPORTED].passage
        assert pairs[SUPPORTED].statement == case.statement
        assert pairs[CONTRADICTED].statement != case.statement
        assert "1889" not in pairs[ABSENT].passage


def test_an_error_may_stand_in_the_passage_so_that_the_statement_alone_tells_nothing() -> None:
    case = Case(SENTENCES[0], SENTENCES, 0, "en", "sentence", "squad", "Tower", " ".join(SENTENCES), ())
    contradicted: list[Pair] = []
    supported: list[Pair] = []
    for seed in range(60):
        for pair in pairs_of(case, 60, random.Random(seed)):
            (supported if pair.label == SUPPORTED else contradicted).append(pair)
            if pair.label == SUPPORTED:
                assert pair.statement in pair.passage
    assert any(SENTENCES[0] == pair.statement for pair in contradicted if pair.label == CONTRADICTED)
    assert any(SENTENCES[0] != pair.statement for pair in supported)


def test_a_passage_holds_its_sentences_and_as_many_neighbours_as_fit() -> None:
    rng = random.Random(1)
    assert around(SENTENCES, [1], 0, "en", rng) == SENTENCES[1]
    assert around(SENTENCES, [0, 3], 0, "en", rng) == f"{SENTENCES[0]} {SENTENCES[3]}"
    assert around(SENTENCES, [1], 1000, "en", rng) == " ".join(SENTENCES)
    two = around(SENTENCES, [1], 13, "en", rng)
    assert two in (" ".join(SENTENCES[:2]), " ".join(SENTENCES[1:3]))


def test_the_parts_of_every_set_are_disjoint(root: Path) -> None:
    squad, scifact = root / "squad" / "train-v1.1.json.gz", root / "scifact"
    parts: tuple[Part, ...] = ("train", "choice", "measure")
    for found in (
        [{pair.article for pair in questions(squad, part, "en", 64, 1)} for part in parts],
        [{pair.article for pair in claims(scifact, part, 64, 1)} for part in parts],
    ):
        assert all(found)
        assert _shared(found) == set()


def _shared(sets: Sequence[set[str]]) -> set[str]:
    """What more than one of the sets holds."""
    return {each for left, right in itertools.combinations(sets, 2) for each in left & right}


def test_claims_about_one_abstract_are_in_one_part_and_its_sentences_are_not_trained_on(root: Path) -> None:
    parts: tuple[Part, ...] = ("train", "choice", "measure")
    by_part = {part: claims(root / "scifact", part, 64, 1) for part in parts}
    proteins = [
        {pair.statement.split()[2] for pair in pairs if pair.kind == "gold"} for pairs in by_part.values()
    ]  # fmt: skip
    assert _shared(proteins) == set()
    trained = {pair.article for pair in abstracts(root / "scifact", 64, 1)}
    kept = {pair.article for part in ("choice", "measure") for pair in by_part[part]}
    assert trained
    assert not trained & kept


def test_measured_claims_have_their_evidence_alone(root: Path) -> None:
    gold = [pair for pair in claims(root / "scifact", "measure", 64, 1) if pair.kind == "gold"]
    assert {pair.passage.count(".") for pair in gold} == {1}
    assert {pair.label for pair in gold} == {SUPPORTED, CONTRADICTED}


def test_a_training_set_is_balanced_and_the_same_for_the_same_seed(root: Path, tmp_path: Path) -> None:
    made = mixture(root, 300, 64, 1)
    counts = [sum(pair.label == label for pair in made) for label in range(3)]
    assert max(counts) - min(counts) <= 4
    assert {pair.source for pair in made} == {"scifact", "squad", "cmrc2018"}
    for name in ("one", "two"):
        write_pairs(tmp_path / f"{name}.gz", mixture(root, 300, 64, 1))
    assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "two.gz").read_bytes()
    assert read_pairs(tmp_path / "one.gz") == made


def test_what_is_measured_was_neither_trained_on_nor_chosen_by(root: Path) -> None:
    seen = {(pair.source, pair.article) for pair in mixture(root, 600, 64, 1) + choices(root, 60, 64, 1)}
    measured = held_apart(root, 60, 1)
    assert list(measured) == ["scifact", "squad", "cmrc2018", "drcd"]
    # The trial part of CMRC is a file of its own; here it is a copy.
    assert not seen & {(pair.source, pair.article) for name in ("scifact", "squad") for pair in measured[name]}


def test_thirds_stop_when_each_verdict_has_its_share() -> None:
    endless = (Pair("s", "p", label % 3, "en", "gold", "x", "a") for label in range(10**9))
    assert len(thirds(endless, 30)) == 30


def test_a_missing_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="scifact"):
        claims(tmp_path / "scifact", "train", 64, 1)
    with pytest.raises(InvalidRequest, match=r"dev\.json"):
        list(questions(tmp_path / "dev.json.gz", None, "zh", 64, 1))
    with pytest.raises(InvalidRequest, match="no pairs"):
        read_pairs(tmp_path / "pairs.gz")


def test_parts_hang_on_the_name_alone() -> None:
    named = [part_of(f"article {number}") for number in range(2000)]
    assert named == [part_of(f"article {number}") for number in range(2000)]
    assert [round(named.count(part) / 2000, 1) for part in ("train", "choice", "measure")] == [0.6, 0.1, 0.3]


@pytest.mark.slow
def test_the_real_sets_share_no_article_between_parts() -> None:
    squad, scifact = need.data("squad") / "train-v1.1.json.gz", need.data("scifact")
    trained = {pair.article for pair in questions(squad, "train", "en", 64, 1)}
    measured = {pair.article for pair in questions(squad, "measure", "en", 64, 1)}
    assert len(trained) > 200
    assert len(measured) > 100
    assert not trained & measured
    evidence = {pair.statement for pair in claims(scifact, "measure", 64, 1)}
    assert not evidence & {pair.statement for pair in claims(scifact, "train", 64, 1)}
