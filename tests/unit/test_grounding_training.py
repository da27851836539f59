"""Training the grounding model: it learns, goes on where it was killed, and is the same after merging."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertModel

from eval.grounding_cases import ABSENT, CONTRADICTED, SUPPORTED, Pair
from eval.grounding_marks import encoded
from eval.train.card import ship
from eval.train.grounding import ADAPTER, CHECKPOINT, JOURNAL, Plan, main, predictions, scores, train
from eval.train.grounding_network import GroundingNetwork, LoraShape, open_network
from eval.train.mixture import write_pairs
from retrieval.bert_graph import BertShape, bert_graph
from retrieval.lora import Adapter
from retrieval.tokens import Tokenizer, model_inputs
from services.model_sources import ModelFile
from tests.grounding import VOCABULARY, tiny_tokenizer

pytestmark = [
    pytest.mark.slow,
    # peft asks transformers for something that it will drop.
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

LORA = LoraShape(4, 8)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT with the words of the tests."""
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=len(VOCABULARY), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=40, layer_norm_eps=1e-12, initializer_range=0.2, pad_token_id=1,
    )  # fmt: skip
    built = BertModel(config, add_pooling_layer=False)
    save_file(dict(built.state_dict()), folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config.to_dict()), encoding="utf-8")
    tiny_tokenizer(folder)
    return folder


def pairs() -> list[Pair]:
    """Places and years: said, changed, and not said at all."""
    found = []
    for place in ("tower", "bridge"):
        for verb in ("opened", "closed"):
            for year, other in (("1793", "1800"), ("1800", "1793")):
                said = f"the {place} was {verb} in {year}"
                made = [(said, SUPPORTED), (f"the {place} was {verb} in {other}", CONTRADICTED), ("it is tall", ABSENT)]
                found += [Pair(said, passage, label, "en", "gold", "squad", place) for passage, label in made]
    return found


def plan(steps: int, **changed: float | int) -> Plan:
    return Plan(
        steps=steps, tokens=32, batch_tokens=128, rate=5e-3, evaluate_every=10, lora=LORA, **changed  # type: ignore[arg-type]
    )  # fmt: skip


def network(base: Path) -> tuple[GroundingNetwork, Tokenizer]:
    torch.manual_seed(1)
    return open_network(base, LORA, 0.1), Tokenizer(base / "tokenizer.json")


def test_a_few_steps_learn_what_a_tiny_set_says(base: Path, tmp_path: Path) -> None:
    model, tokenizer = network(base)
    train(model, tokenizer, pairs(), pairs(), plan(120), tmp_path)
    journal = [json.loads(line) for line in (tmp_path / JOURNAL).read_text(encoding="utf-8").splitlines()]
    assert [each["step"] for each in journal] == list(range(10, 121, 10))
    assert journal[-1]["loss"] < journal[0]["loss"]
    assert max(each["score"] for each in journal) > 0.9


def test_a_run_that_was_killed_ends_as_one_that_was_not(base: Path, tmp_path: Path) -> None:
    for name, stops in (("whole", [None]), ("killed", [7, 15, None])):
        (tmp_path / name).mkdir()
        for stop in stops:
            model, tokenizer = network(base)
            train(model, tokenizer, pairs(), pairs(), plan(20, accumulate=2), tmp_path / name, stop)
    states = [
        torch.load(tmp_path / name / CHECKPOINT, weights_only=True)["trained"] for name in ("whole", "killed")
    ]  # fmt: skip
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    journals = [(tmp_path / name / JOURNAL).read_text(encoding="utf-8") for name in ("whole", "killed")]
    assert [json.loads(line)["score"] for line in journals[0].splitlines()] == [
        json.loads(line)["score"] for line in journals[1].splitlines()
    ]


def test_the_merged_graph_says_what_the_network_said(base: Path, tmp_path: Path) -> None:
    model, tokenizer = network(base)
    train(model, tokenizer, pairs(), pairs(), replace(plan(20), evaluate_every=20), tmp_path)
    adapter = Adapter(tmp_path / ADAPTER)
    offsets, _ = scores(model, tokenizer, pairs(), plan(20))
    # The adapter keeps half precision, and so must what it is compared with.
    for each in model.trained().values():
        each.data = each.data.half().float()
    logits = predictions(model, tokenizer, pairs(), plan(20)) + offsets
    wanted = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    state = BertModel.from_pretrained(base, add_pooling_layer=False).state_dict()
    tensor = adapter.applied(lambda name: state[name].numpy())
    graph = bert_graph(tensor, BertShape(2, 4, 1e-12), integers=False, head=adapter.head)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    inputs = model_inputs([encoded(tokenizer, each.statement, each.passage, 32) for each in pairs()])
    found = session.run(None, inputs)[0]
    assert (tmp_path / ADAPTER).stat().st_size < 100_000
    # The graph keeps the table of words in eight bits.
    assert np.abs(found - wanted).max() < 0.03


def test_the_command_trains_on_pairs_from_a_file(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pairs(tmp_path / "pairs.gz", pairs())
    write_pairs(tmp_path / "choice-pairs.gz", pairs())
    said = ["train", "--pairs", str(tmp_path / "pairs.gz"), "--base", str(base), "--out", str(tmp_path / "run")]
    main([*said, "--steps", "10", "--tokens", "32", "--evaluate-every", "5", "--device", "cpu", "--float32"])
    assert (tmp_path / "run" / ADAPTER).is_file()
    assert "step 10/10" in capsys.readouterr().out
    ship(tmp_path / "run", tmp_path / "pairs.gz", tmp_path / "shipped")
    card = json.loads((tmp_path / "shipped" / "card.json").read_text(encoding="utf-8"))
    assert (card["pairs"]["count"], card["steps_done"], card["plan"]["seed"]) == (24, 10, 1)
    assert not ModelFile(**card["file"]).wrong_with(tmp_path / "shipped" / ADAPTER)
