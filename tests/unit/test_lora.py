"""Low-rank changes added to the weights they change, and the graph with a head on top."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from retrieval.bert_graph import BertShape, bert_graph
from retrieval.errors import ModelMissing
from retrieval.lora import Adapter

Floats = NDArray[np.float32]
WIDTH, INNER, WORDS = 8, 16, 12


def weights() -> dict[str, Floats]:
    """A BERT of one layer, by transformers' names."""
    rng = np.random.default_rng(1)
    shapes = {
        "embeddings.word_embeddings": (WORDS, WIDTH),
        "embeddings.position_embeddings": (10, WIDTH),
        "embeddings.token_type_embeddings": (2, WIDTH),
        "encoder.layer.0.intermediate.dense": (INNER, WIDTH),
        "encoder.layer.0.output.dense": (WIDTH, INNER),
        "encoder.layer.0.attention.output.dense": (WIDTH, WIDTH),
        **{f"encoder.layer.0.attention.self.{name}": (WIDTH, WIDTH) for name in ("query", "key", "value")},
    }
    found: dict[str, Floats] = {}
    for name, shape in shapes.items():
        found[f"{name}.weight"] = rng.normal(0, 0.3, shape).astype(np.float32)
        found[f"{name}.bias"] = rng.normal(0, 0.1, shape[0]).astype(np.float32)
    for place in ("embeddings", "encoder.layer.0.attention.output", "encoder.layer.0.output"):
        found[f"{place}.LayerNorm.weight"] = np.ones(WIDTH, np.float32)
        found[f"{place}.LayerNorm.bias"] = np.zeros(WIDTH, np.float32)
    return found


def head(mark: float) -> dict[str, Floats]:
    rng = np.random.default_rng(2)
    return {
        "mark": np.full(WIDTH, mark, np.float32) * rng.normal(0, 1, WIDTH).astype(np.float32),
        "dense.weight": rng.normal(0, 0.5, (WIDTH, 3 * WIDTH)).astype(np.float32),
        "dense.bias": rng.normal(0, 0.5, WIDTH).astype(np.float32),
        "out.weight": rng.normal(0, 0.5, (3, WIDTH)).astype(np.float32),
        "out.bias": rng.normal(0, 0.5, 3).astype(np.float32),
    }


def run(graph: bytes, **inputs: list[list[int]]) -> Floats:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    result: Floats = session.run(None, {name: np.array(rows, np.int64) for name, rows in inputs.items()})[0]
    return result


def test_what_is_changed_is_changed_by_the_product_and_the_rest_stays(tmp_path: Path) -> None:
    low, high = np.ones((2, WIDTH), np.float16), np.full((WIDTH, 2), 0.5, np.float16)
    name = "encoder.layer.0.attention.self.query"
    save_file(
        {f"{name}.lora_A": low, f"{name}.lora_B": high, "head.out.bias": np.zeros(3, np.float16)},
        tmp_path / "adapter.safetensors",
        {"scale": "2.0"},
    )
    adapter = Adapter(tmp_path / "adapter.safetensors")
    plain = weights()
    changed = adapter.applied(plain.__getitem__)
    assert changed(f"{name}.weight") == pytest.approx(plain[f"{name}.weight"] + 2.0)
    assert (changed(f"{name}.bias") == plain[f"{name}.bias"]).all()
    assert (changed("embeddings.word_embeddings.weight") == plain["embeddings.word_embeddings.weight"]).all()
    assert list(adapter.head) == ["out.bias"]


def test_a_file_that_is_no_adapter_is_named(tmp_path: Path) -> None:
    (tmp_path / "adapter.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelMissing, match=r"adapter\.safetensors"):
        Adapter(tmp_path / "adapter.safetensors")
    save_file({"x": np.zeros(1, np.float32)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelMissing, match=r"other\.safetensors"):
        Adapter(tmp_path / "other.safetensors")


@pytest.mark.parametrize("integers", [False, True])
def test_the_head_is_worked_out_of_the_last_hidden_state(integers: bool) -> None:
    shape, plain, on_top = BertShape(1, 2, 1e-12), weights(), head(0.0)
    ids, mask = [[1, 4, 7, 2], [1, 5, 2, 0]], [[1, 1, 1, 1], [1, 1, 1, 0]]
    hidden = run(bert_graph(plain.__getitem__, shape, integers=integers), input_ids=ids, attention_mask=mask)
    found = run(
        bert_graph(plain.__getitem__, shape, integers=integers, head=on_top),
        input_ids=ids, attention_mask=mask, token_type_ids=[[0] * 4] * 2,
    )  # fmt: skip
    for row, length in enumerate((4, 3)):
        tokens = hidden[row, :length]
        joined = np.concatenate([tokens[0], tokens.mean(0), tokens.max(0)])
        inner = np.tanh(on_top["dense.weight"] @ joined + on_top["dense.bias"])
        logits = on_top["out.weight"] @ inner + on_top["out.bias"]
        assert found[row] == pytest.approx(np.exp(logits) / np.exp(logits).sum(), abs=1e-5)


def test_a_mark_changes_the_vectors_of_the_tokens_that_carry_it() -> None:
    graph = bert_graph(weights().__getitem__, BertShape(1, 2, 1e-12), integers=False, head=head(1.0))
    inputs = {"input_ids": [[1, 4, 7, 2]], "attention_mask": [[1, 1, 1, 1]]}
    rows = [run(graph, **inputs, token_type_ids=[marks]) for marks in ([0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0])]
    assert len({tuple(row[0].round(5)) for row in rows}) == 3
