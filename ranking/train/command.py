"""`python -m ranking.train`: one student from lists to a folder that searches use, on a CPU, a GPU or by torchrun."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from ranking.train.batches import Reading
from ranking.train.lists import Lists, read_lists
from ranking.train.losses import Weights
from ranking.train.networks import LoraShape
from ranking.train.training import ADAPTER, JOURNAL, STUDENTS, Plan, cross_encoder, open_student, train
from retrieval.bert_checkpoint import stored_cross_encoder
from retrieval.errors import RiddleError
from retrieval.merged_reranker import CARD, CONFIG, TOKENIZER, WEIGHTS, card, export, merge
from retrieval.tokens import Tokenizer

MODEL, SAID = "model", "said.json"

_EXAMPLE = """\
python -m ranking.train --lists scored.jsonl.gz --student english --base .riddle/models/ms-marco-minilm-l12-v2 \\
    --out run --steps 600

The same with several processes, one for each GPU, or on CPUs by gloo:
torchrun --nproc-per-node 2 -m ranking.train ... --accumulate 2

A run that was stopped goes on from its last checkpoint when it is started again. docs/training.md has the whole way.
"""


def run(plan: Plan, base: Path, lists: Lists, out: Path) -> dict[str, Any]:
    """Train by ``plan`` into ``out``; its ``MODEL`` is the finished folder, ``SAID`` what is returned.

    ``base`` is the teacher's folder, an encoder's, or that of a reranker that is to be trained further. Of several
    processes the first writes and returns something, the others return nothing.
    """
    with TemporaryDirectory() as folder:
        model = _opened(plan, base, Path(folder))
    tokenizer = Tokenizer(base / TOKENIZER[0])
    dev = train(model, tokenizer, lists, plan, out)
    together = torch.distributed.is_initialized()
    if together and torch.distributed.get_rank() > 0:
        return {}
    processes = torch.distributed.get_world_size() if together else 1
    _finish(model, plan, base, out)
    said = {"dev": dev, "processes": processes, "pairs a second": pace(out / JOURNAL, plan, processes),
            "plan": asdict(plan)}  # fmt: skip
    (out / SAID).write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    return said


def pace(journal: Path, plan: Plan, processes: int) -> float | None:
    """Pairs of query and passage that all processes read in a second, between the first and the last line of losses;
    None where there are no two."""
    rows = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    losses = [row for row in rows if "loss" in row]
    if len(losses) < 2 or losses[-1]["seconds"] <= losses[0]["seconds"]:
        return None
    steps, seconds = losses[-1]["step"] - losses[0]["step"], losses[-1]["seconds"] - losses[0]["seconds"]
    a_step = plan.lists * plan.reading.passages * plan.accumulate * processes
    return float(round(steps * a_step / seconds, 1))


def _opened(plan: Plan, base: Path, folder: Path) -> Any:
    if not _is_reranker(base):
        return open_student(plan, base, folder)
    for name in (WEIGHTS, *TOKENIZER):
        shutil.copyfile(base / name, folder / name)
    config = json.loads((base / CONFIG).read_text(encoding="utf-8"))
    config |= {"hidden_dropout_prob": plan.dropout, "attention_probs_dropout_prob": 0.0}
    (folder / CONFIG).write_text(json.dumps(config), encoding="utf-8")
    return cross_encoder(folder, plan.device)


def _is_reranker(base: Path) -> bool:
    return (base / CONFIG).is_file() and (base / WEIGHTS).is_file() and stored_cross_encoder(base) is not None


def _finish(model: Any, plan: Plan, base: Path, out: Path) -> None:
    """What was trained as a folder of its own."""
    folder = out / MODEL
    folder.mkdir(exist_ok=True)
    if plan.lora is not None:
        merge(base, out / ADAPTER, folder)
    else:
        model.transformers_model.save_pretrained(folder)
        for name in TOKENIZER:
            shutil.copyfile(base / name, folder / name)
        (folder / CARD).write_text(card(STUDENTS[plan.student]), encoding="utf-8")
    export(folder)


def main(arguments: Sequence[str]) -> None:
    said = _parser().parse_args(arguments)
    lora = None if said.rank == 0 else LoraShape(said.rank, said.alpha or said.rank)
    reading = Reading(said.passages, said.tokens, said.batch_tokens)
    weights = Weights(**{name: getattr(said, name) for name in asdict(Weights())})
    plan = Plan(
        said.student, said.steps, said.lists_a_step, said.accumulate, said.rate, dropout=said.dropout, seed=said.seed,
        layers=tuple(said.layers), lora=lora, reading=reading, weights=weights,
        evaluate_every=said.evaluate_every, save_every=said.save_every, workers=said.workers, device=said.device,
    )  # fmt: skip
    try:
        found = run(plan, said.base, read_lists(said.lists), said.out)
    except RiddleError as error:
        raise SystemExit(error.detail) from None
    if found:
        print(json.dumps({"nDCG@10": found["dev"], "pairs a second": found["pairs a second"]}))
        print(f'{said.out / MODEL} is made; searches use it with models.reranker = "{(said.out / MODEL).resolve()}"')


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ranking.train", description=__doc__, epilog=_EXAMPLE,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--lists", type=Path, required=True, help="what ranking.train.own, make_lists or teacher wrote")
    parser.add_argument("--student", choices=list(STUDENTS), required=True)
    parser.add_argument("--base", type=Path, required=True, help="folder of the teacher, an encoder, or a reranker")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--lists-a-step", type=int, default=48, help="in one batch of one process")
    parser.add_argument("--accumulate", type=int, default=1, help="batches of a step, in each process")
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--dropout", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--layers", type=int, nargs="+", default=list(Plan("english", 1).layers),
                        help="of the teacher, for the English student")  # fmt: skip
    parser.add_argument("--rank", type=int, default=96, help="of the low-rank changes; 0 trains everything")
    parser.add_argument("--alpha", type=int, default=0, help="their strength; by default their rank")
    parser.add_argument("--passages", type=int, default=8, help="of a list that are read in one step")
    parser.add_argument("--tokens", type=int, default=256, help="of a pair at most")
    parser.add_argument("--batch-tokens", type=int, default=32_000, help="at a time")
    for name, value in asdict(Weights()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=value)
    parser.add_argument("--evaluate-every", type=int, default=0, help="steps; 0 judges at the end alone")
    parser.add_argument("--save-every", type=int, default=200, help="steps between checkpoints")
    parser.add_argument("--workers", type=int, default=0, help="processes that make batches")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser
