"""A trained adapter on its base: one folder that every runtime scores alike, and that is shipped in one go."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ranking.cross_encoder import Runtime, open_reranker
from ranking.train.card import ADAPTER, CARD, KEPT, README, ship
from ranking.train.judging import list_scores
from ranking.train.networks import LoraShape, adapted, from_encoder, save_adapter, some_layers, teacher_network
from retrieval.bert_checkpoint import read_cross_encoder
from retrieval.bert_graph import pair_graph
from retrieval.errors import InvalidRequest, ModelMissing
from retrieval.graphs import OnnxGraph
from retrieval.merged_reranker import GRAPH, export, merge
from retrieval.models import read_model
from retrieval.native_graph import native_graph
from retrieval.tokens import Tokenizer
from retrieval.torch_graph import TorchGraph
from services.model_registry import parsed, registry
from services.models import pull_many
from tests.grounding import VOCABULARY
from tests.requires import need
from tests.rerank_training import encoder_folder, pairs_of

SERVICES = Path(__file__).resolve().parents[2] / "services"
LAYERS = (0, 2, 4, 7, 9, 11)

Scores = NDArray[np.float32]


def changed(network: Any, path: Path, student: str, shape: LoraShape) -> Any:
    """The network with LoRA and a head of some size, in the state that ``path`` keeps of it."""
    adapted(network, shape)
    torch.manual_seed(3)
    with torch.no_grad():
        for name, value in network.named_parameters():
            if "lora_B" in name or name.startswith("classifier."):
                value.normal_(0, 0.02 if "lora_B" in name else 0.3)
            if value.requires_grad:
                value.copy_(value.half())
    save_adapter(path, network, shape, {"student": student, "layers": LAYERS, "step": 7, "dev": {"squad": 0.8}})
    return network.eval()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The folder of a small bilingual reranker, and the network that it was made of."""
    base = encoder_folder(tmp_path_factory.mktemp("base"))
    into = tmp_path_factory.mktemp("made")
    network = changed(from_encoder(base, 1), base / "adapter.safetensors", "bilingual", LoraShape(4, 8))
    merge(base, base / "adapter.safetensors", into)
    export(into)
    return into, network


def expected(network: Any, inputs: dict[str, NDArray[np.int64]]) -> Scores:
    with torch.inference_mode():
        logits = network(**{name: torch.from_numpy(value) for name, value in inputs.items()}).logits
    return np.asarray(logits.numpy(), np.float32)


def test_every_runtime_scores_what_was_merged_as_the_trained_network_does(made: tuple[Path, Any]) -> None:
    folder, network = made
    inputs = pairs_of(len(VOCABULARY))
    wanted = expected(network, inputs)
    wide = np.ptp(wanted)
    assert np.abs(TorchGraph(folder, 0).run(inputs) - wanted).max() < 2e-3 * wide
    assert np.abs(OnnxGraph(folder / GRAPH).run(inputs) - wanted).max() < 0.05 * wide
    native = native_graph(read_model(folder))
    if native is not None:
        assert np.abs(native.run(inputs) - wanted).max() < 0.05 * wide


def test_the_folder_says_what_it_is(made: tuple[Path, Any]) -> None:
    files = read_model(made[0])
    assert (files.kind, files.languages, files.onnx) == ("reranker", ("en", "zh"), made[0] / GRAPH)
    model = read_cross_encoder(files)
    assert model is not None
    assert (model.shape.layers, model.shape.heads) == (2, 4)


def test_segments_and_padding_are_read_as_transformers_reads_them(made: tuple[Path, Any], tmp_path: Path) -> None:
    model = read_cross_encoder(read_model(made[0]))
    assert model is not None
    (tmp_path / "plain.onnx").write_bytes(pair_graph(model.tensor, model.shape, model.head.named, integers=False))
    graph, inputs = OnnxGraph(tmp_path / "plain.onnx"), pairs_of(len(VOCABULARY))
    alone = [
        graph.run({name: value[row : row + 1, : inputs["attention_mask"][row].sum()] for name, value in inputs.items()})
        for row in range(len(inputs["input_ids"]))
    ]
    assert np.abs(np.concatenate(alone) - graph.run(inputs)).max() < 1e-4
    # The table of words is int8 there too.
    assert np.abs(graph.run(inputs) - expected(made[1], inputs)).max() < 0.05
    turned = inputs | {"token_type_ids": 1 - inputs["token_type_ids"]}
    assert np.abs(graph.run(turned) - graph.run(inputs)).max() > 0.1
    assert np.abs(graph.run(turned) - expected(made[1], turned)).max() < 0.05


def test_changes_of_another_kind_are_no_reranker(made: tuple[Path, Any], tmp_path: Path) -> None:
    base = encoder_folder(tmp_path / "base")
    network = from_encoder(base, 1)
    changed(network, tmp_path / "other.safetensors", "grounder", LoraShape(4, 8))
    with pytest.raises(ModelMissing, match="make a reranker"):
        merge(base, tmp_path / "other.safetensors", tmp_path)
    changed(from_encoder(base, 1), tmp_path / "right.safetensors", "bilingual", LoraShape(4, 8))
    (base / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(ModelMissing, match="holds no encoder"):
        merge(base, tmp_path / "right.safetensors", tmp_path)


@pytest.fixture
def services(tmp_path: Path) -> Path:
    """A services folder with the list of models as it is without rerankers of ours."""
    (tmp_path / "services").mkdir()
    text = (SERVICES / "models.toml").read_text(encoding="utf-8")
    head = text.partition('\n[[model]]\nname = "riddle-reranker')[0]
    (tmp_path / "services" / "models.toml").write_text(head, encoding="utf-8")
    return tmp_path / "services"


def results(path: Path, **own: float) -> Path:
    plan = {
        "lists": 48, "accumulate": 1, "rate": 3e-4, "dropout": 0.05, "seed": 2, "lora": {"rank": 4, "alpha": 8},
        "reading": {"passages": 8, "tokens": 256}, "weights": {"margin": 0.03, "order": 1.0, "judged": 1.0},
    }  # fmt: skip
    beaten = {"recall": {"squad": 0.7, "cmrc2018": 0.8}, "teacher": {"squad": 0.9}}
    said = {"to beat": beaten, "bi-fast": {"dev": own, "plan": plan}}
    path.write_text(json.dumps(said), encoding="utf-8")
    return path


def test_an_adapter_is_shipped_and_listed_in_one_go(made: tuple[Path, Any], tmp_path: Path, services: Path) -> None:
    adapter = tmp_path / "bi-fast.safetensors"
    changed(from_encoder(encoder_folder(tmp_path / "base"), 1), adapter, "bilingual", LoraShape(4, 8))
    before = (services / "models.toml").read_text(encoding="utf-8")
    name = "riddle-reranker-bilingual"
    ship(name, adapter, services, results(tmp_path / "results.json", squad=0.85, cmrc2018=0.75))
    folder = services / "adapters" / name
    text = (services / "models.toml").read_text(encoding="utf-8")
    assert text.startswith(before.rstrip("\n"))
    entry = parsed(text)[-1]
    assert (entry.name, entry.kind, entry.languages, entry.convert) == (name, "reranker", ("en", "zh"), "reranker")
    assert [file.wrong_with(folder / file.name) for file in entry.files] == [""]
    readme = (folder / README).read_text(encoding="utf-8")
    assert "| squad | 0.700 | 0.900 | 0.850 |" in readme
    assert "| **mean of the sets** | 0.750 | – | 0.800 |" in readme
    assert "worse than recall's own order on cmrc2018" in readme
    assert json.loads((folder / CARD).read_text(encoding="utf-8"))["dev"]["student"]["squad"] == 0.85

    (folder / README).write_text(f"{readme}\nMeasured since: 12.\n", encoding="utf-8")
    changed(from_encoder(tmp_path / "base", 2), adapter, "bilingual", LoraShape(2, 8))
    ship(name, adapter, services, results(tmp_path / "results.json", squad=0.86, cmrc2018=0.85))
    again = parsed((services / "models.toml").read_text(encoding="utf-8"))
    assert [each.name for each in again] == [each.name for each in parsed(text)]
    assert [file.wrong_with(folder / file.name) for file in again[-1].files] == [""]
    kept = (folder / README).read_text(encoding="utf-8")
    assert "| squad | 0.700 | 0.900 | 0.860 |" in kept
    assert kept.partition(KEPT)[2].strip() == "Measured since: 12."


def test_what_is_not_this_models_adapter_is_refused(made: tuple[Path, Any], tmp_path: Path, services: Path) -> None:
    adapter = tmp_path / "bi-fast.safetensors"
    changed(from_encoder(encoder_folder(tmp_path / "base"), 1), adapter, "bilingual", LoraShape(4, 8))
    with pytest.raises(InvalidRequest, match="riddle-reranker-en is english"):
        ship("riddle-reranker-en", adapter, services)
    with pytest.raises(InvalidRequest, match="no results of bi-slow"):
        ship("riddle-reranker-bilingual", adapter, services, results(tmp_path / "results.json"), "bi-slow")
    adapter.write_bytes(b"nothing")
    with pytest.raises(InvalidRequest, match="bi-fast"):
        ship("riddle-reranker-bilingual", adapter, services)
    assert not (services / "adapters").exists()


REAL: dict[str, tuple[str, Callable[[Path], Any], str, LoraShape]] = {
    "riddle-reranker-en": (
        "ms-marco-minilm-l12-v2",
        lambda base: some_layers(teacher_network(base / "model.onnx"), LAYERS),
        "english",
        LoraShape(96, 96),
    ),
    "riddle-reranker-bilingual": (
        "multilingual-e5-small", lambda base: from_encoder(base, 1), "bilingual", LoraShape(48, 96)
    ),
}  # fmt: skip
TEXTS = ["The moon is made of rock.", "git branch --delete NAME", "A branch of a tree. " * 20, "继承人清偿债务。"] * 2


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_the_real_base_is_pulled_merged_and_scored_alike_by_every_runtime(
    name: str, tmp_path: Path, services: Path
) -> None:
    """With an adapter of the shape that is trained, and random changes in it."""
    listed, network, student, shape = REAL[name]
    base = need.model(listed)
    trained = changed(network(base), tmp_path / "adapter.safetensors", student, shape)
    ship(name, tmp_path / "adapter.safetensors", services)
    assert (services / "adapters" / name / ADAPTER).stat().st_size < 8_400_000
    home = tmp_path / "home"
    (home / "models").mkdir(parents=True)
    (home / "models" / listed).symlink_to(os.path.relpath(base, home / "models"))
    # Instead of the entry that is shipped, whose adapter has another sha256.
    own = [each for each in parsed((services / "models.toml").read_text(encoding="utf-8")) if each.name == name]
    entries = [*(each for each in registry() if each.name != name), *own]
    pulled = pull_many([name], home, sources=(), entries=entries, adapters=services / "adapters")
    wanted = list_scores(trained, Tokenizer(pulled[0].tokenizer), [("delete a git branch", TEXTS)], 256, 4000)[0]
    runtimes: tuple[Runtime, ...] = ("auto", "onnxruntime", "openvino", "sentence-transformers")
    for runtime in runtimes:
        opened = open_reranker(pulled[0], runtime=runtime, threads=2)
        found = opened.score("delete a git branch", TEXTS)
        assert np.abs(found - wanted).max() < 0.15, runtime
        turned = opened.score("delete a git branch", TEXTS[::-1])[::-1]
        exact = runtime in ("auto", "onnxruntime")
        assert np.abs(found - turned).max() <= (0.0 if exact else 0.05), runtime


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["auto", "onnxruntime"])
def test_the_rerankers_that_are_shipped_put_the_answer_first(runtime: Runtime) -> None:
    asked = [
        ("how to delete a git branch", ["The moon is made of rock.", "Run git branch --delete NAME to delete it."]),
        (
            "借款人死亡后谁来偿还债务",
            ["借款合同应当采用书面形式。", "继承人以所得遗产实际价值为限清偿被继承人的债务。"],
        ),
    ]
    for name, questions in (("riddle-reranker-en", asked[:1]), ("riddle-reranker-bilingual", asked)):
        opened = open_reranker(read_model(need.model(name)), runtime=runtime)
        for query, texts in questions:
            scores = opened.score(query, texts)
            assert scores[1] > scores[0] + 2, (name, query)
