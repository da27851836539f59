"""Learned rankers: files that are what they say, features that must fit, and scores that can be had again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eval.ltr_replay import replay
from eval.usage_rows import QUERY_ROW, QueryRow, ServedPassage
from ranking.features import FeatureSet, Stamp, packed, unpacked, unstamped
from ranking.fields import numeric_fields
from ranking.ltr import FeaturesDiffer, LtrFile, LtrModel, LtrShelf, read_file, with_trees
from ranking.train.trees import Lists, grow, importance
from retrieval.errors import IndexUnreadable, InvalidRequest, ModelMissing
from tests.learned import SMALL, candidate, random_vectors, small_model


@pytest.fixture(scope="module")
def file() -> LtrFile:
    return small_model()


def test_a_model_reads_back_as_it_was_written_and_scores_the_same(file: LtrFile, tmp_path: Path) -> None:
    file.write(tmp_path / "deep" / "m.json")
    again = read_file(tmp_path / "deep" / "m.json")
    assert again == file
    vectors = random_vectors(300, seed=5)
    np.testing.assert_array_equal(LtrModel(again).scores(vectors), LtrModel(file).scores(vectors))


def test_a_row_scores_the_same_alone_and_among_others(file: LtrFile) -> None:
    model, vectors = LtrModel(file), random_vectors(200, seed=6)
    together = model.scores(vectors)
    assert [float(model.scores(vectors[at : at + 1])[0]) for at in range(200)] == together.tolist()
    assert len(set(together.tolist())) > 50
    assert model.scores(vectors[:0]).shape == (0,)


def test_a_model_of_other_features_is_refused_and_says_what_to_do(file: LtrFile) -> None:
    with pytest.raises(FeaturesDiffer, match="riddle ltr train"):
        LtrModel(replace(file, features="0123456789ab"))
    with pytest.raises(FeaturesDiffer):  # other numbers of one's own are other features too
        LtrModel(replace(file, fields="stars:log"))


def test_the_hash_follows_what_scores_depend_on_and_not_the_card(file: LtrFile) -> None:
    assert replace(file, card={"other": 1}).hash == file.hash
    assert len({file.hash, replace(file, columns=file.columns[::-1]).hash, replace(file, features="x").hash}) == 3


@pytest.mark.parametrize("damage", ["not json", "{}", '{"format": 99}', "[]"])
def test_a_file_that_is_no_model_is_refused(damage: str, tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(damage)
    with pytest.raises(IndexUnreadable):
        read_file(tmp_path / "m.json")


def test_a_file_that_was_changed_is_refused(file: LtrFile, tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    file.write(path)
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "trees": told["trees"].replace("0.1", "0.2", 1)}))
    with pytest.raises(IndexUnreadable, match="damaged"):
        read_file(path)
    with pytest.raises(ModelMissing, match="ltr train"):
        read_file(tmp_path / "none.json")


def test_trees_that_cannot_be_read_or_have_other_inputs_are_refused(file: LtrFile) -> None:
    with pytest.raises(IndexUnreadable, match="columns"):
        LtrModel(replace(file, columns=file.columns[:-1]))
    with pytest.raises(InvalidRequest, match="columns"):
        LtrModel(file).scores(np.zeros((2, 3), np.float32))


def test_a_collection_has_the_model_that_was_adopted_last_and_old_ones_are_kept(file: LtrFile, tmp_path: Path) -> None:
    shelf, other = LtrShelf(tmp_path), LtrShelf(tmp_path)
    assert shelf.of("docs") is None
    assert shelf.features_of("docs").version == FeatureSet().version
    newer = small_model(seed=2)
    shelf.adopt("docs", file)
    shelf.adopt("docs", newer)
    shelf.adopt("wiki", file)
    found = other.of("docs")
    assert found is not None
    assert (found.hash, other.hashes()) == (newer.hash, sorted({file.hash, newer.hash}))
    assert other.model(file.hash).hash == file.hash
    assert shelf.drop("docs") == newer.hash
    assert (other.of("docs"), other.adopted()) == (None, {"wiki": file.hash})
    with pytest.raises(ModelMissing):
        shelf.drop("docs")
    with pytest.raises(ModelMissing):
        shelf.model("../../etc")


def test_growing_twice_gives_the_same_trees(file: LtrFile) -> None:
    assert small_model().trees == file.trees
    shares = importance(file.trees, file.columns)
    assert sum(shares.values()) == pytest.approx(1, abs=0.01)


def test_lists_without_a_difference_are_refused() -> None:
    flat = Lists(np.zeros((8, 2), np.float32), np.ones(8, np.int64), np.array([4, 4]), np.ones(2))
    with pytest.raises(InvalidRequest, match="more judgements"):
        grow(flat, np.array([0, 1]), SMALL)


def logged(file: LtrFile, rows: int, seed: int = 8) -> list[QueryRow]:
    """Requests of ten results each as the gateway logs them, read back from their lines."""
    vectors = random_vectors(rows, seed)
    scores = LtrModel(file).scores(vectors)
    found = []
    for first in range(0, rows, 10):
        served = tuple(
            ServedPassage(f"p{at}#0", f"p{at}", 0.5, {"ltr": (at - first + 1, float(scores[at]))}, packed(vectors[at]))
            for at in range(first, min(first + 10, rows))
        )
        row = QueryRow(
            "2026-03-01T10:00:00.000+00:00", f"r_{first}", "s1", "search", "", "docs", "docs@1", "rank-1", "how to",
            filtered=False, k=10, results=served, vectors=file.features, ltr=file.hash,
        )  # fmt: skip
        found.append(QUERY_ROW.validate_json(QUERY_ROW.dump_json(row)))
    return found


def model_of(file: LtrFile, asked: str) -> LtrModel:
    if asked != file.hash:
        raise ModelMissing(f"{asked} is not there")
    return LtrModel(file)


def test_logged_scores_come_out_again_bit_for_bit(file: LtrFile) -> None:
    found = replay(logged(file, 2_000), lambda asked: model_of(file, asked))
    assert (found.rows, found.same, found.exact) == (2_000, 2_000, True)


@pytest.mark.slow
def test_a_hundred_thousand_logged_scores_come_out_again_bit_for_bit(file: LtrFile) -> None:
    found = replay(logged(file, 100_000), lambda asked: model_of(file, asked))
    assert (found.rows, found.same, found.exact) == (100_000, 100_000, True)


def test_a_score_that_is_off_by_its_last_bit_is_found(file: LtrFile) -> None:
    rows = logged(file, 100)
    first = rows[3].results[2]
    rank, score = first.features["ltr"]
    off = replace(first, features={"ltr": (rank, float(np.nextafter(score, np.inf)))})
    damaged = replace(rows[3].results[4], vector="AAAA")
    rows[3] = replace(rows[3], results=(*rows[3].results[:2], off, rows[3].results[3], damaged, *rows[3].results[5:]))
    found = replay(rows, lambda asked: model_of(file, asked))
    assert (found.same, found.different, found.exact) == (98, 2, False)
    assert found.examples[0].startswith("r_30 p32#0: logged")
    assert "cannot be read" in found.examples[1]


def test_rows_of_a_model_that_is_gone_are_counted_and_named(file: LtrFile) -> None:
    rows = [replace(row, ltr="0123456789ab") for row in logged(file, 30)]
    found = replay(rows, lambda asked: model_of(file, asked))
    assert (found.rows, dict(found.lost), found.exact) == (30, {"0123456789ab": 30}, False)
    assert "not there" in found.reasons["0123456789ab"]


def test_candidates_carry_the_trees_score_and_the_vector_that_it_comes_from(file: LtrFile) -> None:
    model = LtrModel(file)
    found = [candidate(f"d{at}#0", f"text {at}", {"lexical": (at + 1, 9.0 - at)}) for at in range(5)]
    told = with_trees("text 3", found, model.features, model)
    assert [each.passage for each in told] == [each.passage for each in found]
    stamps, vectors = zip(*(unstamped(each.vector) for each in told), strict=True)
    assert set(stamps) == {Stamp(file.features, file.hash)}
    scores = [each.stages["ltr"].score for each in told]
    assert model.scores(unpacked(vectors, len(model.features.names))).tolist() == scores
    assert sorted(each.stages["ltr"].rank for each in told) == [1, 2, 3, 4, 5]
    best = min(told, key=lambda each: each.stages["ltr"].rank)
    assert best.stages["ltr"].score == max(scores)
    assert "lexical" in best.stages


def test_without_a_model_candidates_carry_vectors_alone(file: LtrFile) -> None:
    (told,) = with_trees("text", [candidate("d#0", "text", {"lexical": (1, 9.0)})], FeatureSet())
    assert unstamped(told.vector)[0] == Stamp(FeatureSet().version, "")
    assert set(told.stages) == {"lexical"}
    assert with_trees("text", [], FeatureSet(), LtrModel(file)) == ()
    with pytest.raises(InvalidRequest, match="cannot score"):
        with_trees("text", [told], FeatureSet(numeric_fields("stars:log")), LtrModel(file))
