"""Small encoders as transformers saves them: our kernel and torch give their texts the same vectors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import BertConfig, BertModel

from retrieval.encoder_checkpoint import read_encoder
from retrieval.encoders import open_encoder
from retrieval.errors import InvalidRequest, ModelMissing
from retrieval.models import ModelFiles, Pooling, read_model
from retrieval.native_graph import native_encoder, why_not

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{n}" for n in range(60))]
TEXTS = ["w1", "w2 w3 w4", "", " ".join(f"w{n % 60}" for n in range(200)), "w9 w8 w7 w6 w5"]


def save(path: Path, **changes: int) -> None:
    torch.manual_seed(5)
    sizes = {"hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 256} | changes
    config = BertConfig(
        vocab_size=len(WORDS), num_hidden_layers=2, max_position_embeddings=64, initializer_range=0.1, **sizes
    )
    BertModel(config).eval().save_pretrained(path)
    tokenizer: dict[str, object] = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"}, "decoder": None,
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "model": {"type": "WordLevel", "vocab": {word: at for at, word in enumerate(WORDS)}, "unk_token": "[UNK]"},
    }  # fmt: skip
    (path / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    said = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    (path / "tokenizer_config.json").write_text(json.dumps(said), encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    save(path)
    return path


def pooled_by(folder: Path, path: Path, mode: str) -> ModelFiles:
    """The same model with sentence-transformers' word on how its tokens become one vector."""
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (path / name).write_bytes((folder / name).read_bytes())
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling")]
    modules = [
        {"idx": at, "name": str(at), "path": where, "type": f"sentence_transformers.models.{kind}"}
        for at, (where, kind) in enumerate(kinds)
    ]
    (path / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (path / "1_Pooling").mkdir()
    said = {"word_embedding_dimension": 128, f"pooling_mode_{mode}": True}
    (path / "1_Pooling" / "config.json").write_text(json.dumps(said), encoding="utf-8")
    return read_model(path)


def by_torch(folder: Path, pooling: Pooling) -> NDArray[np.float32]:
    model = BertModel.from_pretrained(folder).eval()
    rows = []
    for text in TEXTS:
        ids = [2, *(WORDS.index(word) for word in text.split()[:62]), 3]
        with torch.no_grad():
            hidden = model(input_ids=torch.tensor([ids])).last_hidden_state[0].numpy()
        vector = hidden[0] if pooling == "cls" else hidden.mean(axis=0)
        rows.append(vector / np.linalg.norm(vector))
    return np.asarray(rows, np.float32)


@pytest.mark.parametrize(("mode", "pooling"), [("cls_token", "cls"), ("mean_tokens", "mean")])
def test_our_kernel_gives_the_vectors_of_torch(folder: Path, tmp_path: Path, mode: str, pooling: Pooling) -> None:
    files = pooled_by(folder, tmp_path, mode)
    assert files.pooling == pooling
    if native_encoder(files) is None:
        pytest.xfail(why_not(files))
    encoder = open_encoder(files, runtime="native", threads=2)
    found = encoder.encode(TEXTS, "passage")
    assert (found * by_torch(folder, pooling)).sum(axis=1).min() > 0.995
    alone = np.concatenate([encoder.encode([text], "passage") for text in TEXTS])
    assert np.array_equal(found, alone), "a text's vector does not hang on its company"


def test_an_encoder_that_our_kernel_does_not_take_is_refused_by_name_and_says_why(folder: Path, tmp_path: Path) -> None:
    small, other, pooled = (tmp_path / name for name in ("small", "other", "pooled"))
    for path in (small, other, pooled):
        path.mkdir()
    save(small, hidden_size=60, num_attention_heads=3)
    said = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    kept = pooled_by(folder, other, "mean_tokens")
    (other / "config.json").write_text(json.dumps({**said, "architectures": ["RobertaModel"]}), encoding="utf-8")
    assert read_encoder(kept) is None
    for files in (read_model(small), kept, pooled_by(folder, pooled, "max_tokens")):
        assert native_encoder(files) is None
        with pytest.raises(InvalidRequest, match=r"models\.runtime native cannot run .*; leave it at auto"):
            open_encoder(files, runtime="native")


def test_damaged_weights_are_a_missing_model(folder: Path, tmp_path: Path) -> None:
    files = pooled_by(folder, tmp_path, "mean_tokens")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(ModelMissing, match="pull the model again"):
        read_encoder(files)
