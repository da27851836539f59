"""A small cross-encoder as transformers saves it: our kernel and sentence-transformers score its pairs alike."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import BertConfig, BertForSequenceClassification

from retrieval.bert_checkpoint import read_cross_encoder
from retrieval.errors import ModelMissing
from retrieval.models import ModelFiles, read_model
from retrieval.native_graph import native_graph
from retrieval.torch_graph import TorchGraph
from tests.requires import need

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{n}" for n in range(60))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=128, num_hidden_layers=2, num_attention_heads=4, intermediate_size=256,
        max_position_embeddings=64, num_labels=1, initializer_range=0.1,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("model")
    BertForSequenceClassification(config).eval().save_pretrained(path)
    tokenizer: dict[str, object] = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"}, "decoder": None,
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "model": {"type": "WordLevel", "vocab": {word: at for at, word in enumerate(WORDS)}, "unk_token": "[UNK]"},
    }  # fmt: skip
    (path / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    said = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    (path / "tokenizer_config.json").write_text(json.dumps(said), encoding="utf-8")
    return path


@pytest.fixture
def files(folder: Path) -> ModelFiles:
    return read_model(folder)


def pairs() -> dict[str, NDArray[np.int64]]:
    rng = np.random.default_rng(2)
    lengths = np.array([3, 9, 30, 64])[:, None]
    places = np.arange(64)[None]
    mask = (places < lengths).astype(np.int64)
    return {
        "input_ids": rng.integers(4, len(WORDS), (4, 64)) * mask,
        "attention_mask": mask,
        "token_type_ids": (places > lengths // 3).astype(np.int64) * mask,
    }


def test_our_kernel_scores_pairs_as_sentence_transformers_does(files: ModelFiles) -> None:
    native = native_graph(files)
    if native is None:
        pytest.xfail("this processor has no AVX-512 VNNI")
    expected = TorchGraph(files.path, 0).run(pairs())
    found = native.run(pairs())
    assert found.shape == expected.shape == (4, 1)
    assert np.abs(found - expected).max() < 0.05
    assert np.ptp(expected) > 0.2


def test_a_model_of_another_kind_or_form_is_left_to_others(folder: Path, tmp_path: Path) -> None:
    said = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for name in ("model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    for changed in ({"architectures": ["XLMRobertaForSequenceClassification"]}, {"hidden_act": "relu"}):
        (tmp_path / "config.json").write_text(json.dumps({**said, **changed}), encoding="utf-8")
        assert read_cross_encoder(read_model(tmp_path)) is None
    (tmp_path / "config.json").write_text(json.dumps(said), encoding="utf-8")
    assert read_cross_encoder(read_model(tmp_path)) is not None


def test_damaged_weights_are_a_missing_model(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(ModelMissing, match="not a file of weights"):
        read_cross_encoder(read_model(tmp_path))
    with pytest.raises(ModelMissing, match="sentence-transformers reads"):
        TorchGraph(tmp_path, 0)


@pytest.mark.slow
def test_the_teachers_quantised_file_gives_its_weights_and_heads() -> None:
    model = read_cross_encoder(read_model(need.model("ms-marco-minilm-l12-v2")))
    assert model is not None
    assert (model.shape.layers, model.shape.heads) == (12, 12)
    assert model.tensor("encoder.layer.11.output.dense.weight").shape == (384, 1536)
    with pytest.raises(ModelMissing, match=r"encoder\.layer\.12"):
        model.tensor("encoder.layer.12.output.dense.weight")
