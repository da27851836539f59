"""The transformer's kernel against its numpy twin, and what it promises: a text's vector hangs on the text alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from retrieval._native import transformer_twin
from retrieval._native.transformer import Texts, Transformer, available, served
from retrieval.bert_graph import BertShape

HIDDEN, INNER, WORDS, PLACES = 128, 192, 90, 150
SHAPE = BertShape(layers=2, heads=4, epsilon=1e-12)

pytestmark = pytest.mark.xfail(not available(), reason="this processor has no AVX-512 VNNI", run=False)


def tensors(seed: int = 0) -> Callable[[str], NDArray[np.float32]]:
    """Random weights of such a model, by name, as large as trained ones."""
    held: dict[str, NDArray[np.float32]] = {}
    sizes = {
        "word": (WORDS, HIDDEN), "position": (PLACES, HIDDEN), "token_type": (2, HIDDEN),
        "intermediate.dense": (INNER, HIDDEN), "attention.output.dense": (HIDDEN, HIDDEN),
        "output.dense": (HIDDEN, INNER),
    }  # fmt: skip

    def tensor(name: str) -> NDArray[np.float32]:
        if name not in held:
            rng = np.random.default_rng([seed, *name.encode()])
            stem = next((key for key in sizes if key in name), "")
            rows, columns = sizes[stem] if stem else (HIDDEN, HIDDEN)
            if "LayerNorm" in name:
                drawn = rng.normal(1 if name.endswith("weight") else 0, 0.2, HIDDEN)
            elif name.endswith("bias"):
                drawn = rng.normal(0, 0.2, rows)
            else:
                drawn = rng.normal(0, columns**-0.5, (rows, columns))
            held[name] = drawn.astype(np.float32)
        return held[name]

    return tensor


def laid_out(rows: Sequence[NDArray[np.int64]]) -> Texts:
    ids = np.concatenate([*rows, np.empty(0, np.int64)]).astype(np.int32)
    starts = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    types = np.concatenate([np.arange(len(row)) * 2 // len(row) for row in rows] or [np.empty(0, np.int64)]).astype(
        np.uint8
    )
    return Texts(ids, types, starts)


def drawn(lengths: Sequence[int], seed: int = 1) -> list[NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, WORDS, length) for length in lengths]


@pytest.fixture(scope="module")
def model() -> Transformer:
    return Transformer(tensors(), SHAPE)


def test_vectors_are_those_of_the_twin_for_texts_of_any_length(model: Transformer) -> None:
    texts = laid_out(drawn([1, 2, 7, 15, 16, 17, 48, 63, 64, 65, 100, PLACES]))
    expected = transformer_twin.tokens(tensors(), SHAPE, texts)
    found = model.tokens(texts)
    # A value halfway between two codes may fall to either side, and the layers above spread that.
    assert np.abs(found - expected).max() < 0.12
    assert np.sqrt(np.mean((found - expected) ** 2)) < 0.01


def test_the_first_tokens_alone_are_what_they_are_among_all(model: Transformer) -> None:
    texts = laid_out(drawn([5, 1, 40, 77]))
    assert np.array_equal(model.firsts(texts), model.tokens(texts)[texts.starts[:-1]])


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, PLACES), min_size=1, max_size=7), st.integers(0, 1000))
def test_a_text_has_the_same_bits_alone_and_in_any_company(model: Transformer, lengths: list[int], seed: int) -> None:
    rows = drawn(lengths, seed)
    together = model.firsts(laid_out(rows))
    assert all(
        np.array_equal(model.firsts(laid_out([row]))[0], vector) for row, vector in zip(rows, together, strict=True)
    )


def test_threads_share_a_model_and_each_gets_its_own_answer(model: Transformer) -> None:
    texts = [laid_out(drawn([7 * n % 90 + 1, n + 1, 33], seed=n)) for n in range(24)]
    alone = [model.firsts(each) for each in texts]
    with ThreadPoolExecutor(4) as pool:
        for expected, found in zip(alone * 3, pool.map(model.firsts, texts * 3), strict=True):
            assert np.array_equal(found, expected)


def test_no_texts_give_no_vectors(model: Transformer) -> None:
    assert model.firsts(laid_out([])).shape == (0, HIDDEN)


@pytest.mark.parametrize(
    "texts",
    [
        Texts(np.array([WORDS], np.int32), np.zeros(1, np.uint8), np.array([0, 1], np.int64)),
        Texts(np.array([-1], np.int32), np.zeros(1, np.uint8), np.array([0, 1], np.int64)),
        Texts(np.array([1], np.int32), np.full(1, 2, np.uint8), np.array([0, 1], np.int64)),
        Texts(np.array([1], np.int32), np.zeros(1, np.uint8), np.array([0, 0, 1], np.int64)),
        Texts(np.array([1], np.int32), np.zeros(1, np.uint8), np.array([0, 2], np.int64)),
        Texts(np.zeros(PLACES + 1, np.int32), np.zeros(PLACES + 1, np.uint8), np.array([0, PLACES + 1], np.int64)),
        Texts(np.zeros(4, np.int32)[::2], np.zeros(2, np.uint8), np.array([0, 2], np.int64)),
    ],
)
def test_what_lies_outside_of_the_tables_is_refused_before_it_is_read(model: Transformer, texts: Texts) -> None:
    with pytest.raises(ValueError, match=r"wanted|lie in"):
        model.firsts(texts)


def test_sizes_that_the_kernel_does_not_take_are_known() -> None:
    assert served(384, 1536, 12)
    assert served(768, 3072, 12)
    assert not served(312, 1200, 12)
    assert not served(128, 512, 8)
    with pytest.raises(ValueError, match="serves no model"):
        Transformer(tensors(), BertShape(2, 16, 1e-12))
