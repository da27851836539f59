"""Cross-encoders on a CPU: every runtime side by side in one run, and what int8 costs in quality.

    python -m benchmarks.cross_encoder speed --home .riddle
    python -m benchmarks.cross_encoder quality ../shared/data --home .riddle --queries 200
    python -m benchmarks.cross_encoder models ms-marco-minilm-l12-v2 riddle-reranker-en --home .riddle

``speed`` reads 100 pairs of 128 tokens with the first six layers of ms-marco-MiniLM-L-12. Every runtime takes its
turn in every round, so that load from elsewhere falls on all alike; processor time is printed beside wall time.
sentence-transformers (torch, float32) and plain onnxruntime (the published int8 graph, batches of 32) are what a
user would run without us. ``quality`` reranks BM25's first 20 with all twelve layers in float32 and in int8.
``models`` reads 100 pairs of several lengths with each model, all by our kernel, in turns, and says what each takes of
memory.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eval.datasets import load_judged_set
from eval.retrieval_metrics import Run, evaluate
from ranking.cross_encoder import NATIVE_BATCH_TOKENS, open_reranker
from ranking.windows import Windows
from retrieval.analysis import analyse
from retrieval.batching import Tokens, token_batches
from retrieval.bert_checkpoint import BertCrossEncoder, read_cross_encoder
from retrieval.graphs import Graph, OnnxGraph, cores, cpu_flags
from retrieval.lanes import Lanes
from retrieval.models import ModelFiles, find_model, read_model
from retrieval.native_graph import native_graph
from retrieval.openvino_graph import OpenVinoGraph
from retrieval.tokens import Encoded, Tokenizer, model_inputs
from retrieval.torch_graph import TorchGraph
from retrieval.types import Passage

TEACHER = "ms-marco-minilm-l12-v2"
PAIRS, TOKENS, LAYERS = 100, 128, 6
SETS = {"scifact": "train", "nl2bash-tldr": "train"}

Scores = NDArray[np.float32]


def cut(files: ModelFiles, layers: int, into: Path) -> ModelFiles:
    """The first ``layers`` layers of a cross-encoder, as a folder of transformers and as the ONNX graph it came as."""
    from safetensors.numpy import save_file

    model = read_cross_encoder(files)
    if model is None or files.onnx is None:
        raise SystemExit(f"{files.name} is no BERT in ONNX")
    kept = {
        name: value
        for name, value in model.tensors.items()
        if ".layer." not in name or int(name.split(".layer.")[1].split(".")[0]) < layers
    }
    save_file(kept, into / "model.safetensors", {"format": "pt"})
    (into / "config.json").write_text(json.dumps(_config(model, layers)), encoding="utf-8")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (into / name).write_bytes((files.path / name).read_bytes())
    (into / "model.onnx").write_bytes(_cut_graph(files.onnx, model.shape.layers, layers))
    return read_model(into)


def _config(model: BertCrossEncoder, layers: int) -> dict[str, object]:
    words = model.tensor("embeddings.word_embeddings.weight")
    return {
        "architectures": ["BertForSequenceClassification"], "model_type": "bert", "hidden_act": "gelu",
        "hidden_size": words.shape[1], "num_hidden_layers": layers, "num_attention_heads": model.shape.heads,
        "intermediate_size": len(model.tensor("encoder.layer.0.intermediate.dense.bias")), "vocab_size": len(words),
        "max_position_embeddings": len(model.tensor("embeddings.position_embeddings.weight")), "num_labels": 1,
        "id2label": {"0": "LABEL_0"}, "layer_norm_eps": model.shape.epsilon,
    }  # fmt: skip


def _cut_graph(path: Path, held: int, layers: int) -> bytes:
    """The graph with its pooler fed from an earlier layer, and what is then not needed left out."""
    import onnx

    model = onnx.load(path)
    end = "/bert/encoder/layer.{}/output/LayerNorm/Add_1_output_0"
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name == end.format(held - 1):
                node.input[place] = end.format(layers - 1)
    needed, nodes = {each.name for each in model.graph.output}, []
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            nodes.append(node)
            needed |= set(node.input)
    constants = [each for each in model.graph.initializer if each.name in needed]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(reversed(nodes))
    model.graph.initializer.extend(constants)
    data: bytes = model.SerializeToString()
    return data


def pairs_of(count: int, tokens: int) -> list[Encoded]:
    """Pairs of random words: what they say does not change what they cost."""
    rng = np.random.default_rng(1)
    query = 12
    return [
        Encoded([101, *rng.integers(1000, 30000, tokens - 2).tolist(), 102], [0] * query + [1] * (tokens - query))
        for _ in range(count)
    ]


def in_lanes(graph: Graph, lanes: Lanes, pairs: Sequence[Encoded], budget: int) -> Scores:
    scores: Scores = np.empty(len(pairs), np.float32)

    def fill(batch: list[int]) -> None:
        scores[batch] = graph.run(model_inputs([pairs[row] for row in batch]))[:, 0]

    lanes.run(fill, token_batches([len(pair) for pair in pairs], budget))
    return scores


def in_batches(run: Callable[[dict[str, Tokens]], Scores], pairs: Sequence[Encoded], size: int = 32) -> Scores:
    return np.concatenate([run(model_inputs(pairs[at : at + size]))[:, 0] for at in range(0, len(pairs), size)])


def plain_onnxruntime(path: Path) -> Callable[[dict[str, Tokens]], Scores]:
    """A session as its documentation opens one, over all cores."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda inputs: np.asarray(session.run(None, inputs)[0], np.float32)


def speed(home: Path, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = cut(find_model(TEACHER, home), LAYERS, Path(folder))
        assert files.onnx is not None
        lanes, pairs = Lanes(cores()), pairs_of(PAIRS, TOKENS)
        opened = OpenVinoGraph(files.onnx, cores())
        runs: dict[str, Callable[[], Scores]] = {
            "sentence-transformers, torch float32": partial(in_batches, TorchGraph(files.path, cores()).run, pairs),
            "onnxruntime int8, batches of 32": partial(in_batches, plain_onnxruntime(files.onnx), pairs),
            "onnxruntime int8, one by one in lanes": partial(in_lanes, OnnxGraph(files.onnx), lanes, pairs, 1),
            "OpenVINO, its own choice of precision": partial(in_lanes, opened, Lanes(1), pairs, 2048),
        }  # fmt: skip
        native = native_graph(files)
        if native is not None:
            runs["riddle's kernel"] = partial(in_lanes, native, lanes, pairs, NATIVE_BATCH_TOKENS)
        _print(runs, rounds)


def _print(runs: dict[str, Callable[[], Scores]], rounds: int) -> None:
    wall: dict[str, list[float]] = {name: [] for name in runs}
    used: dict[str, list[float]] = {name: [] for name in runs}
    scores = {}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            began, spent = time.perf_counter(), time.process_time()
            scores[name] = run()
            wall[name].append((time.perf_counter() - began) * 1000)
            used[name].append((time.process_time() - spent) * 1000)
    first, last = next(iter(runs)), list(runs)[-1]
    able = " ".join(sorted(cpu_flags() & {"avx2", "avx512_vnni", "avx512_bf16", "amx_int8"}))
    print(f"{cores()} cores, {able}, load {os.getloadavg()[0]:.1f}; {PAIRS} pairs of {TOKENS} tokens, {LAYERS} layers")
    print(f"| runtime | median ms | best | processor ms | times {last} | off float32 |\n|---|---|---|---|---|---|")
    for name in runs:
        # The first round warms up. Ratios are taken round by round, so load that comes and goes falls out.
        ratio = np.median(np.array(used[name][1:]) / np.array(used[last][1:]))
        off = np.abs(scores[name] - scores[first]).max()
        print(
            f"| {name} | {np.median(wall[name][1:]):.0f} | {min(wall[name][1:]):.0f} | {np.median(used[name][1:]):.0f} "
            f"| {np.median(np.array(wall[name][1:]) / np.array(wall[last][1:])):.2f} ({ratio:.2f} of processor time) "
            f"| {off:.3f} |"
        )


def models(home: Path, names: Sequence[str], lengths: Sequence[int], rounds: int) -> None:
    runs: dict[tuple[str, int], Callable[[], Scores]] = {}
    lanes = Lanes(cores())
    for name in names:
        native = native_graph(find_model(name, home))
        if native is None:
            raise SystemExit(f"our kernel does not run {name} here")
        print(f"{name}: {native.bytes / 1e6:.0f} MB of weights and tables", flush=True)
        for length in lengths:
            runs[name, length] = partial(in_lanes, native, lanes, pairs_of(PAIRS, length), NATIVE_BATCH_TOKENS)
    wall: dict[tuple[str, int], list[float]] = {key: [] for key in runs}
    used: dict[tuple[str, int], list[float]] = {key: [] for key in runs}
    for _ in range(rounds + 1):
        for key, run in runs.items():
            began, spent = time.perf_counter(), time.process_time()
            run()
            wall[key].append((time.perf_counter() - began) * 1000)
            used[key].append((time.process_time() - spent) * 1000)
    print(f"{cores()} cores, load {os.getloadavg()[0]:.1f}; {PAIRS} pairs, median ms of {rounds} rounds (processor ms)")
    print(f"| model | {' | '.join(f'{length} tokens' for length in lengths)} |\n|---{'|---' * len(lengths)}|")
    for name in names:
        cells = [f"{np.median(wall[name, each][1:]):.0f} ({np.median(used[name, each][1:]):.0f})" for each in lengths]
        print(f"| {name} | {' | '.join(cells)} |")


def quality(data: Path, home: Path, queries: int) -> None:
    files = find_model(TEACHER, home)
    with tempfile.TemporaryDirectory() as folder:
        whole = cut(files, 12, Path(folder))
        exact = TorchGraph(whole.path, 0)
        ours = open_reranker(files)
        tokenizer = Tokenizer(files.tokenizer)
        print(
            "| set | queries | float32 | ours | difference | nDCG@10 of one by the other |\n|---|---|---|---|---|---|"
        )
        for name, split in SETS.items():
            texts = candidates(data / name, split, queries, depth=20, window=96)
            judged = load_judged_set(data / name, split)
            qrels = {query: judged.qrels[query] for query in texts}
            runs: list[dict[str, dict[str, float]]] = [{}, {}]
            for query, found in texts.items():
                asked, read = judged.queries[query], list(found.values())
                pairs = tokenizer.encode_pairs(asked, read, 256)
                both = in_lanes(exact, Lanes(1), pairs, 2048), ours.score(asked, read)
                for run, scores in zip(runs, both, strict=True):
                    run[query] = dict(zip(found, scores.tolist(), strict=True))
            _print_quality(name, qrels, runs)


def _print_quality(name: str, qrels: dict[str, dict[str, int]], runs: Sequence[Run]) -> None:
    exact, ours = (evaluate(qrels, run, ["nDCG@10"])["nDCG@10"] for run in runs)
    # The first ten in float32 as if they were the judgements: 1 is the same order.
    ideal = {
        query: {each: 11 - rank for rank, each in enumerate(sorted(found, key=lambda d: -found[d])[:10], 1)}
        for query, found in runs[0].items()
    }
    same = evaluate(ideal, runs[1], ["nDCG@10"])["nDCG@10"]
    print(f"| {name} | {len(qrels)} | {exact:.4f} | {ours:.4f} | {ours - exact:+.4f} | {same:.4f} |", flush=True)


def candidates(folder: Path, split: str, queries: int, *, depth: int, window: int) -> dict[str, dict[str, str]]:
    """For queries spread over a split, BM25's first documents, best first, and of each the window that is read."""
    import bm25s

    with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    judged = load_judged_set(folder, split)
    chosen = list(judged.qrels)[:: max(1, len(judged.qrels) // queries)][:queries]
    index = bm25s.BM25(k1=1.2, b=0.75, method="lucene")
    index.index([analyse(f"{row.get('title') or ''}\n{row['text']}") for row in rows], show_progress=False)
    asked = [analyse(judged.queries[query]) for query in chosen]
    found, _ = index.retrieve(asked, k=depth, show_progress=False)
    texts = {}
    for query, documents in zip(chosen, found.tolist(), strict=True):
        passages = [
            Passage(f"{row['_id']}#0", row["_id"], row["text"], (0, len(row["text"])), row.get("title") or "")
            for row in (rows[at] for at in documents)
        ]
        windows = Windows(judged.queries[query], passages)
        texts[query] = {each.document_id: windows.text(each, window) for each in passages}
    return texts


def main() -> None:
    """Run one of the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    timed = parts.add_parser("speed")
    timed.add_argument("--rounds", type=int, default=9)
    compared = parts.add_parser("quality")
    compared.add_argument("data", type=Path)
    compared.add_argument("--queries", type=int, default=200)
    beside = parts.add_parser("models")
    beside.add_argument("names", nargs="+", help="of models that were pulled, or folders")
    beside.add_argument("--lengths", type=int, nargs="+", default=[48, 96, 128])
    beside.add_argument("--rounds", type=int, default=9)
    for each in (timed, compared, beside):
        each.add_argument("--home", type=Path, required=True)
    options = parser.parse_args()
    if options.part == "speed":
        speed(options.home, options.rounds)
    elif options.part == "models":
        models(options.home, options.names, options.lengths, options.rounds)
    else:
        quality(options.data, options.home, options.queries)


if __name__ == "__main__":
    main()
