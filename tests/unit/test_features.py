"""Features of learned ranking: what each column says, what is missing, and what their version depends on."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from ranking.features import FeatureSet, Stamp, columns_without, packed, stamped, unpacked, unstamped
from ranking.fields import NumericField, numeric_fields
from ranking.overlaps import QueryTerms
from retrieval.errors import InvalidRequest
from retrieval.types import Metadata
from tests.learned import candidate, random_vectors

FOUND = (
    candidate("a#0", "The lamp was first lit in 1844.", {"lexical": (1, 9.0), "dense": (2, 0.5), "fused": (1, 0.03)}),
    candidate("a#3", "Keepers lived there.", {"lexical": (2, 3.0), "fused": (3, 0.01)}, title="The lamp"),
    candidate("b#0", "An estuary in January", {"dense": (1, 0.9), "fused": (2, 0.02)}, headings=("Lamp oil",)),
)


def column(name: str, features: FeatureSet | None = None, query: str = "when was the lamp lit?") -> list[float]:
    features = features or FeatureSet()
    return [round(float(each), 4) for each in features(query, FOUND)[:, features.names.index(name)]]


def test_a_stage_gives_rank_and_score_and_nothing_where_it_saw_nothing() -> None:
    assert column("lexical.rank")[:2] == [1, 2]
    assert math.isnan(column("lexical.rank")[2])
    assert column("lexical.found") == [1, 1, 0]
    assert column("dense.score")[0] == 0.5
    assert column("dense.z")[0] == -1
    assert column("dense.below")[0] == -2
    assert all(map(math.isnan, column("late.found") + column("rerank.score")))


def test_terms_count_by_how_few_candidates_hold_them() -> None:
    """All three hold `lamp` somewhere, one alone `lit`: what covers `lit` covers more."""
    assert column("all.coverage")[0] > column("all.coverage")[1]
    assert column("title.coverage")[1] > 0
    assert column("headings.coverage") == [0, 0, column("headings.coverage")[2]]
    assert column("headings.coverage")[2] > 0
    assert column("all.coverage.below")[0] == 0


def test_the_whole_query_word_for_word_is_a_phrase_in_english_and_in_chinese() -> None:
    assert column("text.phrase", query="lamp was first lit") == [1, 0, 0]
    assert column("title.phrase", query="The lamp?") == [0, 1, 0]
    terms = QueryTerms("劳动合同？")
    found = terms.found_in(["解除劳动合同的条件", "劳动者与合同"])
    assert found.overlaps(terms.weights(found.held)).phrase.tolist() == [1, 0]


def test_near_and_neighbouring_terms_count_more_than_scattered_ones() -> None:
    terms = QueryTerms("granite quarry")
    found = terms.found_in(["a granite quarry", "granite from an old and distant quarry", "granite alone", ""])
    overlaps = found.overlaps(terms.weights(found.held))
    assert overlaps.pairs.tolist() == [1, 0, 0, 0]
    assert overlaps.proximity[0] > overlaps.proximity[1] > overlaps.proximity[2] == overlaps.proximity[3] == 0
    assert overlaps.first.tolist()[:3] == [1 / 3, 0, 0]
    assert math.isnan(overlaps.first[3])
    assert overlaps.coverage.tolist()[2:] == pytest.approx([overlaps.coverage[2], 0])


def test_a_text_that_occurs_twice_has_the_same_overlaps_twice() -> None:
    terms = QueryTerms("granite quarry")
    found = terms.found_in(["granite", "quarry", "granite"])
    overlaps = found.overlaps(terms.weights(found.held))
    assert found.held.tolist() == [[True, False], [False, True], [True, False]]
    assert overlaps.best_match[0] == overlaps.best_match[2]


def test_bm25_agrees_with_the_formula() -> None:
    terms = QueryTerms("granite quarry")
    texts = ["granite granite wall", "quarry", "sea"]
    found = terms.found_in(texts)
    weights = terms.weights(found.held)
    assert weights == pytest.approx([math.log1p(3), math.log1p(3)])
    mean = 5 / 3
    expected = math.log1p(3) * 2 * 2.2 / (2 + 1.2 * (0.25 + 0.75 * 3 / mean))
    assert found.overlaps(weights).best_match[0] == pytest.approx(expected)


def test_shape_says_where_in_its_document_a_passage_stands() -> None:
    assert column("passage.ordinal") == [0, 3, 0]
    assert column("passage.siblings") == [2, 2, 1]
    assert column("candidates.channels") == [2, 1, 1]
    assert column("candidates.agreement") == [0.5, 0.5, 0.5]


def test_a_query_without_a_term_and_a_list_without_a_candidate_are_no_error() -> None:
    features = FeatureSet()
    assert features("???", FOUND).shape == (3, len(features.names))
    assert math.isnan(column("text.coverage", query="???")[0])
    assert features("lamp", ()).shape == (0, len(features.names))


def test_the_order_of_the_candidates_changes_no_number() -> None:
    features, order = FeatureSet(), list(range(len(FOUND)))
    plain = features("lamp oil", FOUND)
    for seed in range(4):
        random.Random(seed).shuffle(order)
        np.testing.assert_array_equal(features("lamp oil", [FOUND[at] for at in order]), plain[order])


def test_fields_of_ones_own_are_read_as_declared() -> None:
    day = 86_400.0
    fields = numeric_fields("stars:log, updated:age, price, seen:age")
    rows: list[Metadata] = [
        {"stars": 9, "updated": "1970-01-03", "price": "2.5", "seen": 5 * day},
        {"stars": -9.0, "updated": "1970-01-04T00:00:00+01:00", "price": "cheap", "seen": 5 * day * 1e6},
        {"stars": None, "updated": "yesterday", "price": True, "seen": [day]},
        {},
    ]
    values = [[round(float(v), 4) for v in field.values(rows, now=10 * day)] for field in fields]
    assert values[0][:2] == [round(math.log(10), 4), -round(math.log(10), 4)]
    assert values[1][:2] == [8, round(7 + 1 / 24, 4)]
    assert values[2][0] == 2.5
    assert values[2][2] == 1
    assert values[3][0] == 5
    assert values[3][2] == 9
    assert all(math.isnan(each) for each in (values[0][2], values[0][3], values[1][2], values[2][1], values[2][3]))
    features = FeatureSet(fields)
    assert features.names[-4:] == ("field.stars.log", "field.updated.age", "field.price.number", "field.seen.age")
    assert FeatureSet(numeric_fields(features.fields_text)).version == features.version


@pytest.mark.parametrize("text", ["stars:loud", ":log", "stars, stars:number"])
def test_fields_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        numeric_fields(text)


def test_the_version_follows_the_columns() -> None:
    plain = FeatureSet()
    own = FeatureSet((NumericField("stars", "log"),))
    assert plain.version == FeatureSet().version != own.version
    assert own.names[: len(plain.names)] == plain.names
    assert len(set(own.names)) == len(own.names)
    assert all(own.definitions.values())


def test_columns_of_a_stage_can_be_left_out() -> None:
    names = columns_without(FeatureSet().names, ["rerank", "late"])
    assert "dense.z" in names
    assert not [name for name in names if name.startswith(("rerank.", "late."))]
    with pytest.raises(InvalidRequest, match="no stage"):
        columns_without(names, ["final"])


def test_a_vector_is_the_same_after_the_log_bit_for_bit() -> None:
    vectors = random_vectors(50, seed=3)
    vectors[0, :4] = np.array([np.inf, -0.0, 1e-45, np.nan], np.float32)
    width = vectors.shape[1]
    again = unpacked([packed(vector) for vector in vectors], width)
    assert again.tobytes() == vectors.tobytes()
    stamp, vector = unstamped(stamped(Stamp("f1", "m1"), vectors[7]))
    assert (stamp, unpacked([vector], width)[0].tobytes()) == (Stamp("f1", "m1"), vectors[7].tobytes())
    assert unstamped("") == (Stamp("", ""), "")
    for damaged in ("????", packed(vectors[0][:-1])):
        with pytest.raises(InvalidRequest):
            unpacked([damaged], width)
