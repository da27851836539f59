"""The cross-encoder's order, its deadline, and what it reads of a pair; on a graph that can be worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ranking.cross_encoder import CrossEncoder, Runtime, open_reranker
from retrieval.batching import Tokens
from retrieval.errors import InvalidRequest, ModelMissing
from retrieval.graphs import Engine, best_runtime, cpu_flags
from retrieval.lanes import Lanes
from retrieval.models import ModelFiles, read_model
from retrieval.tokens import Tokenizer
from tests.requires import need

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "cat", "dog", "tree", "runs", "sleeps", "the"]
CLS, SEP = 2, 3


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A BERT tokenizer of ten words, with the padding and truncation that exported files tend to carry."""
    said: dict[str, object] = {
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0},
        "padding": {
            "strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": None,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]",
        },
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {
            "type": "BertProcessing", "sep": ["[SEP]", SEP], "cls": ["[CLS]", CLS],
        },
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": {word: at for at, word in enumerate(WORDS)}, "unk_token": "[UNK]"},
    }  # fmt: skip
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    path.write_text(json.dumps(said), encoding="utf-8")
    return Tokenizer(path)


class Overlap:
    """The logit of a pair is how many of the text's tokens the query has; counts its calls."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.then = then
        self.shapes: list[tuple[int, int]] = []

    def run(self, inputs: Mapping[str, Tokens]) -> NDArray[np.float32]:
        ids, types, mask = inputs["input_ids"], inputs["token_type_ids"], inputs["attention_mask"]
        self.shapes.append((ids.shape[0], ids.shape[1]))
        assert ((ids != 0) == (mask == 1)).all()
        logits = []
        for row, segment in zip(ids, types, strict=True):
            query = set(row[(segment == 0) & (row > SEP)].tolist())
            logits.append([sum(token in query for token in row[segment == 1].tolist())])
        self.then()
        return np.asarray(logits, np.float32)


def reranker(
    tokenizer: Tokenizer, graph: Overlap, *, lanes: int = 1, batch_tokens: int = 12, clock: Callable[[], float] = float
) -> CrossEncoder:
    return CrossEncoder("overlap", ("en",), tokenizer, Engine(graph, Lanes(lanes), batch_tokens), 24, clock)


@given(st.lists(st.lists(st.sampled_from(WORDS[4:]), max_size=30), max_size=12), st.integers(1, 3))
def test_scores_come_in_the_order_of_the_texts(
    tokenizer: Tokenizer, texts: Sequence[Sequence[str]], lanes: int
) -> None:
    scores = reranker(tokenizer, Overlap(), lanes=lanes).score("the cat", [" ".join(text) for text in texts])
    # 24 tokens less three special ones and the query's two leave nineteen.
    assert scores.tolist() == [sum(word in ("the", "cat") for word in text[:19]) for text in texts]
    assert scores.dtype == np.float32


def test_a_long_query_gets_half_of_the_room_at_most(tokenizer: Tokenizer) -> None:
    (pair,) = tokenizer.encode_pairs("dog " * 50, ["cat " * 50], 24)
    assert pair.ids == [CLS, *[5] * 10, SEP, *[4] * 11, SEP]
    assert pair.types == [0] * 12 + [1] * 12


def test_padding_and_truncation_of_the_exported_file_do_not_count(tokenizer: Tokenizer) -> None:
    short, long = tokenizer.encode(["cat", "cat " * 20], 16)
    assert (len(short), len(long)) == (3, 16)


def test_models_with_the_same_vocabulary_hold_it_once(tokenizer: Tokenizer, tmp_path: Path) -> None:
    said = {"type": "WordLevel", "vocab": {"<unk>": 0, "cat": 1}, "unk_token": "<unk>"}
    for name in ("encoder.json", "reranker.json"):
        (tmp_path / name).write_text(json.dumps({"version": "1.0", "model": said}), encoding="utf-8")
    one, two = (Tokenizer(tmp_path / name) for name in ("encoder.json", "reranker.json"))
    assert one.rules is two.rules
    assert one.rules is not tokenizer.rules


def test_a_deadline_in_the_past_scores_nothing(tokenizer: Tokenizer) -> None:
    graph = Overlap()
    assert len(reranker(tokenizer, graph, clock=lambda: 5.0).score("cat", ["cat", "dog"], deadline=5.0)) == 0
    assert graph.shapes == []


def test_a_deadline_on_the_way_leaves_the_head_that_was_scored(tokenizer: Tokenizer) -> None:
    time = [0.0]

    def tick() -> None:
        time[0] += 1.0

    texts = ["cat", "the cat " * 8, "dog", "cat the cat"] * 3
    late = reranker(tokenizer, Overlap(tick), clock=lambda: time[0])
    found = late.score("the cat", texts, deadline=3.0)
    whole = reranker(tokenizer, Overlap()).score("the cat", texts)
    assert 0 < len(found) < len(texts)
    assert found.tolist() == whole[: len(found)].tolist()


def test_a_short_list_still_looks_at_the_clock_more_than_once(tokenizer: Tokenizer) -> None:
    graph = Overlap()
    reranker(tokenizer, graph, batch_tokens=10_000).score("cat", ["the cat sleeps"] * 8)
    assert len(graph.shapes) >= 4


def test_a_round_says_what_it_read_and_leaves_the_rest_open(tokenizer: Tokenizer) -> None:
    time = [0.0]

    def tick() -> None:
        time[0] += 1.0

    texts = ["cat the cat", "the cat " * 8, "dog"] * 3
    late = reranker(tokenizer, Overlap(tick), clock=lambda: time[0])
    scores, tokens = late.score_round("the cat", texts, deadline=2.0)
    whole, everything = late.score_round("the cat", texts)
    read = ~np.isnan(scores)
    assert 0 < read.sum() < len(texts)
    assert scores[read].tolist() == whole[read].tolist()
    assert 0 < tokens < everything == 3 * (8 + 21 + 6)


def test_no_texts_give_no_scores(tokenizer: Tokenizer) -> None:
    assert reranker(tokenizer, Overlap()).score("cat", []).shape == (0,)


def files(path: Path, **other: object) -> ModelFiles:
    config = {"architectures": ["BertForSequenceClassification"], "hidden_size": 8, **other}
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (path / "model.safetensors").write_bytes(b"weights")
    return read_model(path)


def test_an_encoder_is_not_taken_for_a_reranker(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="a reranker is needed"):
        open_reranker(files(tmp_path, architectures=["BertModel"]))


def test_a_reranker_without_a_graph_is_refused_in_so_many_words(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "WordLevel", "vocab": {}, "unk_token": ""}}', "utf-8")
    with pytest.raises(ModelMissing, match="no ONNX file"):
        open_reranker(files(tmp_path), runtime="onnxruntime")


def test_a_model_that_our_kernel_does_not_take_is_refused_when_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "WordLevel", "vocab": {}, "unk_token": ""}}', "utf-8")
    with pytest.raises(InvalidRequest, match=r"models\.runtime native .*(no BERT that our kernel takes|AVX-512 VNNI)"):
        open_reranker(files(tmp_path, architectures=["DebertaV2ForSequenceClassification"]), runtime="native")


def test_a_damaged_graph_is_a_missing_model(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    runtimes: tuple[Runtime, ...] = ("onnxruntime", "openvino")
    for runtime in runtimes:
        with pytest.raises(ModelMissing):
            open_reranker(files(tmp_path), runtime=runtime)


def test_the_runtime_follows_from_the_processor(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor : 0\nflags : fpu avx2 amx_tile amx_bf16\n", encoding="ascii")
    assert best_runtime(cpu_flags(tmp_path / "cpuinfo")) == "openvino"
    assert best_runtime(frozenset({"avx2"})) == "onnxruntime"
    assert cpu_flags(tmp_path / "absent") == frozenset()


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "auto"])
def test_the_real_reranker_puts_the_answer_first_on_every_runtime(runtime: Runtime) -> None:
    model = read_model(need.model("ms-marco-minilm-l12-v2"))
    texts = [
        "The moon is made of rock.",
        "Run git branch --delete NAME to delete a branch.",
        "A branch of a tree. " * 90,
    ]
    scores = open_reranker(model, runtime=runtime, threads=1).score("how to delete a git branch", texts)
    assert int(scores.argmax()) == 1
    assert scores[1] > 0 > scores[0]


@pytest.mark.slow
@pytest.mark.parametrize(("runtime", "off"), [("onnxruntime", 0.0), ("openvino", 0.05), ("auto", 0.0)])
def test_a_pair_scores_the_same_alone_and_in_any_company(runtime: Runtime, off: float) -> None:
    """Floats may be summed in another order, which bf16 then rounds; integers, a scale to a row, may not move."""
    model = read_model(need.model("ms-marco-minilm-l12-v2"))
    real = open_reranker(model, runtime=runtime, threads=2)
    query = "how to delete a git branch"
    texts = [f"Branch {n} of {'a tree, or of git, ' * (n % 7)}is deleted by -{'dD'[n % 2]}." for n in range(24)]
    together = real.score(query, texts)
    alone = np.concatenate([real.score(query, [text]) for text in texts])
    half = real.score(query, texts[::-2])[::-1]
    assert np.abs(together - alone).max() <= off
    assert np.abs(together[1::2] - half).max() <= off
