"""Near-duplicates: signatures against exact similarity, and what is dropped."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from indexing.duplicates import SLOTS, Duplicates, Signatures, bands_for, find_duplicates, signatures

VOCABULARY = [f"word{number}" for number in range(400)]


def similarity(one: str, other: str) -> float:
    """Jaccard similarity of the sets of runs of three words, worked out in full."""
    first, second = (
        {tuple(words[at : at + 3]) for at in range(len(words) - 2)} for words in (one.split(), other.split())
    )
    return len(first & second) / len(first | second)


def find(
    texts: list[str],
    threshold: float,
    groups: list[int] | None = None,
    left_out: list[bool] | None = None,
    size: int = 7,
) -> Duplicates:
    """``find_duplicates`` over these texts, their signatures in blocks of ``size`` columns."""
    made = signatures(texts)

    def rows(first: int, last: int) -> Iterator[Signatures]:
        return (made[first:last, at : at + size] for at in range(0, len(texts), size))

    return find_duplicates(
        rows,
        lambda documents: made[:, documents],
        np.array(groups or [0] * len(texts), np.uint64),
        threshold,
        np.array(left_out or [False] * len(texts), np.bool_),
    )


def changed(text: str, words: int, rng: random.Random) -> str:
    found = text.split()
    for place in rng.sample(range(len(found)), words):
        found[place] = "other" + str(rng.randrange(10**6))
    return " ".join(found)


def drawn(rng: random.Random, words: int = 120) -> str:
    return " ".join(rng.choices(VOCABULARY, k=words))


def test_the_share_of_equal_numbers_estimates_the_similarity() -> None:
    rng = random.Random(1)
    errors = []
    for words in (0, 1, 2, 4, 8, 16, 32):
        one = drawn(rng)
        other = changed(one, words, rng)
        made = signatures([one, other])
        errors.append(float((made[:, 0] == made[:, 1]).mean()) - similarity(one, other))
    assert errors[0] == 0
    assert max(map(abs, errors)) < 4 * (0.25 / SLOTS) ** 0.5


def test_case_white_space_and_punctuation_do_not_count_and_order_does() -> None:
    made = signatures(["The pump, it needs oil!", "the  pump\nIT needs: oil", "oil needs it pump the"])
    assert (made[:, 0] == made[:, 1]).all()
    assert (made[:, 0] == made[:, 2]).mean() < 0.2


def test_chinese_is_compared_by_its_characters() -> None:
    text = "本合同自双方签字盖章之日起生效，有效期为三年，期满前三十日内任何一方未书面提出异议的，自动续期一年。"
    made = signatures([text, text.replace("三年", "五年"), "每年检查一次水泵，并更换机油。"])
    assert 0.7 < (made[:, 0] == made[:, 1]).mean() < 1
    assert (made[:, 0] == made[:, 2]).mean() < 0.1


@pytest.mark.parametrize("texts", [[], ["", "…"], ["one", "two words"]])
def test_texts_too_short_for_a_run_have_signatures_too(texts: list[str]) -> None:
    made = signatures(texts)
    assert (made.shape, made.dtype) == ((SLOTS, len(texts)), np.dtype(np.uint32))
    assert find(texts, 0.8).dropped.sum() == 0


def test_of_copies_and_near_copies_the_first_stays() -> None:
    rng = random.Random(2)
    others = [drawn(rng) for _ in range(60)]
    text = drawn(rng)
    texts = [*others[:30], text, *others[30:], changed(text, 1, rng), text]
    found = find(texts, 0.85)
    assert np.flatnonzero(found.dropped).tolist() == [61, 62]
    assert found.kept_for[61:].tolist() == [30, 30]
    assert found.similarity[62] == 1
    assert 0.85 <= found.similarity[61] < 1


def test_documents_that_other_callers_may_see_are_not_dropped_for_each_other() -> None:
    text = drawn(random.Random(3))
    found = find([text] * 4, 0.85, groups=[1, 2, 1, 2])
    assert found.kept_for.tolist() == [-1, -1, 0, 1]


def test_what_is_left_out_already_keeps_nobody_out() -> None:
    text = drawn(random.Random(4))
    found = find([text] * 3, 0.85, left_out=[True, False, False])
    assert found.kept_for.tolist() == [-1, -1, 1]


def test_many_copies_of_one_text_are_settled_in_one_go() -> None:
    rng = random.Random(5)
    text = drawn(rng, 20)
    found = find([text] * 9_000, 0.85, size=1_000)
    assert found.kept_for.tolist() == [-1] + [0] * 8_999


def test_nearly_all_pairs_at_the_threshold_are_found_and_none_below_it_by_much() -> None:
    rng = random.Random(6)
    bases = [drawn(rng, 200) for _ in range(300)]
    near = [changed(text, 3, rng) for text in bases]
    far = [changed(text, 20, rng) for text in bases]
    true = np.array([similarity(one, other) for one, other in zip(bases, near, strict=True)])
    found = find([*bases, *near, *far], 0.85)
    sure = true > 0.9
    assert sure.sum() > 100
    assert found.dropped[300:600][sure].mean() > 0.98
    assert found.dropped[:300].sum() == found.dropped[600:].sum() == 0
    assert set(found.kept_for[300:600].tolist()) <= {-1, *range(300)}


@given(st.integers(0, 10**6), st.sampled_from([0.6, 0.8, 0.95]), st.integers(1, 9))
def test_whatever_is_dropped_has_a_similar_one_of_its_group_that_stays(seed: int, threshold: float, size: int) -> None:
    rng = random.Random(seed)
    texts = [drawn(rng, 30) for _ in range(4)]
    texts += [changed(rng.choice(texts), rng.randrange(6), rng) for _ in range(20)]
    rng.shuffle(texts)
    groups = [rng.randrange(2) for _ in texts]
    left_out = [rng.random() < 0.1 for _ in texts]
    made = signatures(texts)
    found = find(texts, threshold, groups, left_out, size)
    for document in np.flatnonzero(found.dropped).tolist():
        kept = int(found.kept_for[document])
        assert not found.dropped[kept]
        assert not left_out[kept]
        assert groups[kept] == groups[document]
        assert (made[:, kept] == made[:, document]).mean() == pytest.approx(found.similarity[document])
        assert found.similarity[document] >= threshold
    assert not (found.dropped & np.array(left_out)).any()
    same: NDArray[np.int64] = find(texts, threshold, groups, left_out, 24).kept_for
    assert np.array_equal(same, found.kept_for)


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0])
def test_bands_are_as_wide_as_they_may_be(threshold: float) -> None:
    bands = bands_for(threshold)
    assert SLOTS % bands == 0
    assert 1 - (1 - threshold ** (SLOTS // bands)) ** bands >= 0.9
