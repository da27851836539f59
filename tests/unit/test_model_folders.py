"""Finding a model on disk, and reading folders that Riddle did not make."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from retrieval.errors import ModelMissing
from retrieval.models import MANIFEST, find_model, fingerprint, read_model

SAID: dict[str, Any] = {
    "name": "tiny",
    "hub": "Org/Tiny",
    "kind": "encoder",
    "dimension": 4,
    "max_tokens": 32,
    "pooling": "cls",
    "query_prefix": "q: ",
    "passage_prefix": "",
    "languages": ["en", "zh"],
    "fingerprint": "0123456789abcdef",
}


def write(folder: Path, files: Mapping[str, Any]) -> Path:
    for name, value in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return folder


def sentence_transformer(folder: Path, **extra: Any) -> Path:
    files = {
        "config.json": {"architectures": ["BertModel"], "hidden_size": 8, "max_position_embeddings": 512},
        "model.safetensors": "weights",
        "tokenizer.json": "{}",
        "modules.json": [
            {"path": "", "type": "sentence_transformers.models.Transformer"},
            {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        ],
        "1_Pooling/config.json": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
        "sentence_bert_config.json": {"max_seq_length": 128},
    }
    return write(folder, files | extra)


@pytest.mark.parametrize("name", ["tiny", "Org/Tiny", "org/tiny", "TINY"])
def test_a_model_is_found_by_name_or_hub_id_in_any_case(tmp_path: Path, name: str) -> None:
    write(tmp_path / "models" / "tiny", {MANIFEST: SAID})
    found = find_model(name, tmp_path)
    assert (found.name, found.path, found.languages) == ("tiny", tmp_path / "models" / "tiny", ("en", "zh"))


def test_a_missing_model_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="riddle models pull tiny"):
        find_model("tiny", tmp_path)


def test_a_pull_in_progress_is_not_a_model(tmp_path: Path) -> None:
    write(tmp_path / "models" / ".partial", {MANIFEST: SAID})
    with pytest.raises(ModelMissing):
        find_model("tiny", tmp_path)


@pytest.mark.parametrize("text", ["{", "{}"])
def test_a_damaged_manifest_says_how_to_mend_it(tmp_path: Path, text: str) -> None:
    write(tmp_path / "models" / "tiny", {MANIFEST: text})
    with pytest.raises(ModelMissing, match="riddle models pull tiny"):
        find_model("tiny", tmp_path)


def test_a_sentence_transformers_folder_is_read_from_its_own_files(tmp_path: Path) -> None:
    prompts = {"config_sentence_transformers.json": {"prompts": {"query": "query: ", "document": "doc: "}}}
    card = {"README.md": "---\nlicense: mit\nlanguage:\n- en\n- zh\n---\n# Tiny\n"}
    found = find_model(str(sentence_transformer(tmp_path / "own", **prompts, **card)), tmp_path)
    assert (found.kind, found.dimension, found.max_tokens, found.pooling) == ("encoder", 8, 128, "cls")
    assert (found.query_prefix, found.passage_prefix, found.languages) == ("query: ", "doc: ", ("en", "zh"))
    assert len(found.fingerprint) == 16


def test_a_dense_layer_on_top_changes_the_width_and_needs_sentence_transformers(tmp_path: Path) -> None:
    modules = [
        {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"path": "2_Dense", "type": "sentence_transformers.models.Dense"},
    ]
    folder = sentence_transformer(
        tmp_path, **{"modules.json": modules, "2_Dense/config.json": {"in_features": 8, "out_features": 3}}
    )
    assert (read_model(folder).dimension, read_model(folder).pooling) == (3, "none")


def test_the_kind_follows_from_the_architecture(tmp_path: Path) -> None:
    config = {"architectures": ["BertForSequenceClassification"], "hidden_size": 8}
    found = read_model(write(tmp_path, {"config.json": config, "model.safetensors": "w"}))
    assert (found.kind, found.dimension, found.languages) == ("reranker", None, ("*",))


def test_a_folder_without_weights_is_not_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="not a model's folder"):
        read_model(write(tmp_path, {"config.json": {"hidden_size": 8}}))


def test_the_fingerprint_follows_what_shapes_the_vectors_and_nothing_else(tmp_path: Path) -> None:
    first = read_model(sentence_transformer(tmp_path / "a"))
    renamed = read_model(sentence_transformer(tmp_path / "b", **{"README.md": "another card"}))
    assert first.fingerprint == renamed.fingerprint
    for change in (
        {"model.safetensors": "others"},
        {"tokenizer.json": '{"a":1}'},
        {"sentence_bert_config.json": {"max_seq_length": 64}},
        {"1_Pooling/config.json": {"pooling_mode_mean_tokens": True}},
        {"config_sentence_transformers.json": {"prompts": {"query": "q: "}}},
    ):
        folder = tmp_path / str(abs(hash(str(change))))
        assert read_model(sentence_transformer(folder, **change)).fingerprint != first.fingerprint


def test_the_fingerprint_ignores_files_that_no_vector_depends_on() -> None:
    weights = {"model.onnx": "1", "tokenizer.json": "2"}
    assert fingerprint({**weights, "README.md": "3"}, "cls") == fingerprint(weights, "cls")
    assert fingerprint({**weights, "model.onnx": "4"}, "cls") != fingerprint(weights, "cls")


def test_a_quantised_graph_is_taken_before_a_plain_one(tmp_path: Path) -> None:
    folder = sentence_transformer(tmp_path, **{"onnx/model.onnx": "plain"})
    model = read_model(folder)
    assert model.onnx == folder / "onnx" / "model.onnx"
    write(folder, {"onnx/model_quantized.onnx": "quantised"})
    assert model.onnx == folder / "onnx" / "model_quantized.onnx"
    assert replace(model, path=tmp_path / "elsewhere").onnx is None
