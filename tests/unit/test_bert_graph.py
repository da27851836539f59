"""The graph that is built of a BERT's tensors gives what transformers' own BertModel gives, for any padding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from transformers import BertConfig, BertModel

from retrieval.bert_graph import BertShape, bert_graph, quantised_rows

LAYERS, HEADS, WIDTH, WORDS, POSITIONS = 2, 4, 32, 50, 24


@pytest.fixture(scope="module")
def model() -> BertModel:
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=WORDS,
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=64,
        max_position_embeddings=POSITIONS,
        layer_norm_eps=1e-12,
        initializer_range=0.1,
    )
    built = BertModel(config, add_pooling_layer=False).eval()
    with torch.no_grad():
        for name, weights in built.named_parameters():
            if name.endswith("bias") or "LayerNorm" in name:
                weights += 0.2 * torch.randn_like(weights)
        # The graph keeps the table of words in int8, so the reference gets the same words.
        words, scales = quantised_rows(built.embeddings.word_embeddings.weight.numpy())
        built.embeddings.word_embeddings.weight.copy_(torch.from_numpy(words * scales[:, None]))
    return built


@pytest.fixture(scope="module")
def inputs() -> dict[str, NDArray[np.int64]]:
    """Texts of unequal length, one of them as long as positions go."""
    rng = np.random.default_rng(5)
    ids = rng.integers(0, WORDS, (5, POSITIONS))
    lengths = np.array([1, 3, 11, 20, POSITIONS])[:, None]
    mask = (np.arange(POSITIONS)[None] < lengths).astype(np.int64)
    return {"input_ids": ids * mask, "attention_mask": mask}


def _run(graph: bytes, inputs: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["last_hidden_state"], inputs)[0], np.float32)


def _tensor(model: BertModel) -> Callable[[str], NDArray[np.float32]]:
    held = model.state_dict()
    return lambda name: held[name].numpy()


def _reference(model: BertModel, inputs: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
    with torch.inference_mode():
        hidden = model(**{name: torch.from_numpy(values) for name, values in inputs.items()}).last_hidden_state
    return np.asarray(hidden.numpy(), np.float32)


def test_the_float_graph_gives_what_transformers_gives(model: BertModel, inputs: dict[str, NDArray[np.int64]]) -> None:
    graph = bert_graph(_tensor(model), BertShape(LAYERS, HEADS, 1e-12), integers=False)
    there = inputs["attention_mask"].astype(bool)
    assert np.abs(_run(graph, inputs) - _reference(model, inputs))[there].max() < 2e-5


def test_the_int8_graph_points_where_transformers_points(
    model: BertModel, inputs: dict[str, NDArray[np.int64]]
) -> None:
    graph = bert_graph(_tensor(model), BertShape(LAYERS, HEADS, 1e-12), integers=True)
    there = inputs["attention_mask"].astype(bool)
    found, wanted = _run(graph, inputs)[there], _reference(model, inputs)[there]
    cosines = (found * wanted).sum(axis=1) / np.linalg.norm(found, axis=1) / np.linalg.norm(wanted, axis=1)
    assert cosines.min() > 0.99


@pytest.mark.parametrize("integers", [False, True])
def test_padding_changes_nothing(model: BertModel, inputs: dict[str, NDArray[np.int64]], integers: bool) -> None:
    graph = bert_graph(_tensor(model), BertShape(LAYERS, HEADS, 1e-12), integers=integers)
    alone = {name: values[2:3, :11] for name, values in inputs.items()}
    wider = {name: values[2:3] for name, values in inputs.items()}
    # Padding takes part in the scale of what is quantised, and in nothing else.
    assert np.abs(_run(graph, alone) - _run(graph, wider)[:, :11]).max() < (0.15 if integers else 2e-5)


def test_building_leaves_the_tensors_as_they_were_and_gives_equal_bytes(model: BertModel) -> None:
    before = {name: values.clone() for name, values in model.state_dict().items()}
    graphs = {bert_graph(_tensor(model), BertShape(LAYERS, HEADS, 1e-12), integers=True) for _ in range(2)}
    assert len(graphs) == 1
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())


def test_rows_are_quantised_by_their_own_largest_value() -> None:
    numbers, scales = quantised_rows(np.array([[1.27, -0.64], [0.0, 0.0], [-254.0, 2.0]], np.float32))
    assert numbers.tolist() == [[127, -64], [0, 0], [-127, 1]]
    assert scales.tolist() == pytest.approx([0.01, 1e-12 / 127, 2.0])
