"""Trains the grounding model: LoRA and a head on multilingual-e5-small, on a CPU or a GPU, resumable.

The pairs are made where the data sets are, and trained on where the computer is fast; the second step needs
torch, transformers, peft, tokenizers and safetensors, and no network::

    python -m eval.train.grounding pairs --data DIR --out pairs.jsonl.gz --size 30000
    python -m eval.train.grounding train --pairs pairs.jsonl.gz --base MODEL_DIR --out RUN_DIR --steps 900
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from eval.grounding_cases import Pair
from eval.grounding_marks import encoded
from eval.grounding_scores import fair_offsets, macro_recall, supported_accuracy
from eval.train.grounding_network import GroundingNetwork, LoraShape, open_network, save_adapter
from eval.train.mixture import choices, mixture, read_pairs, write_pairs
from eval.train.progress import Progress
from retrieval.batching import token_batches
from retrieval.graphs import cores, cpu_flags
from retrieval.tokens import Encoded, Tokenizer, model_inputs

_MANY = 4000
CHECKPOINT, ADAPTER, JOURNAL, PLAN = "checkpoint.pt", "adapter.safetensors", "journal.jsonl", "plan.json"


@dataclass(frozen=True, slots=True)
class Plan:
    """One training run. ``batch_tokens`` are a micro-batch's, padding included; ``accumulate`` of them make a step.

    What is judged and kept is not the last step's weights but their running mean: a step weighs ``average`` as much
    as the one after it.
    """

    steps: int
    tokens: int = 112
    batch_tokens: int = 2560
    accumulate: int = 1
    rate: float = 8e-4
    warm_up: float = 0.06
    dropout: float = 0.05
    average: float = 0.99
    decay: float = 0.01
    seed: int = 1
    evaluate_every: int = 100
    save_every: int = 25
    device: str = "cpu"
    half: bool = False
    lora: LoraShape = field(default_factory=LoraShape)


def train(network: GroundingNetwork, tokenizer: Tokenizer, pairs: Sequence[Pair], kept: Sequence[Pair], plan: Plan,
          out: Path, stop_at: int | None = None) -> None:  # fmt: skip
    """Train to the end of the plan, going on from ``out``'s checkpoint where there is one.

    Writes ``checkpoint.pt``, ``journal.jsonl`` and, whenever ``kept`` is judged better than before,
    ``adapter.safetensors``. The same plan and pairs give the same run, killed in between or not.
    ``stop_at`` ends it after that step.
    """
    rows = encoded_all(tokenizer, pairs, plan.tokens)
    network.to(plan.device)
    optimiser = torch.optim.AdamW(network.trained().values(), plan.rate, betas=(0.9, 0.98), weight_decay=plan.decay)
    progress = Progress(network, optimiser, out / CHECKPOINT, plan.average)
    batches = _batches([len(row) for row in rows], plan, progress.step * plan.accumulate)
    began, first, seen, losses = time.monotonic(), progress.step, 0, []
    while (step := progress.step) < min(plan.steps, stop_at or plan.steps):
        # Dropout of a step hangs on its number alone, so that a resumed run is the same run.
        torch.manual_seed(plan.seed * 1_000_003 + step)
        network.train()
        for group in optimiser.param_groups:
            group["lr"] = plan.rate * _share(step, plan)
        for _ in range(plan.accumulate):
            batch = next(batches)
            losses.append(_learn(network, [rows[at] for at in batch], [pairs[at].label for at in batch], plan))
            seen += len(batch)
        torch.nn.utils.clip_grad_norm_(network.trained().values(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        step = progress.stepped()
        if step % 10 == 0:
            spent = time.monotonic() - began
            left = spent / (step - first) * (plan.steps - step) / 60
            print(f"step {step}/{plan.steps} loss {np.mean(losses[-50 * plan.accumulate :]):.4f} "
                  f"{seen / spent:.1f} pairs/s {left:.0f} min left", flush=True)  # fmt: skip
        if step % plan.evaluate_every == 0 or step == plan.steps:
            with progress.mean():
                offsets, found = scores(network, tokenizer, kept, plan)
                said = {"step": step, "loss": float(np.mean(losses[-100:])), **found}
                print(json.dumps(said), flush=True)
                if said["score"] > progress.best:
                    progress.best = said["score"]
                    save_adapter(out / ADAPTER, network, offsets, said)
            with (out / JOURNAL).open("a", encoding="utf-8") as journal:
                journal.write(json.dumps(said) + "\n")
        if step % plan.save_every == 0 or step % plan.evaluate_every == 0 or step in (plan.steps, stop_at):
            progress.save()


def encoded_all(tokenizer: Tokenizer, pairs: Sequence[Pair], tokens: int) -> list[Encoded]:
    """Each pair as the model reads it; of many pairs, a share in each of as many processes as there are cores."""
    if len(pairs) < _MANY:
        return _share_encoded(tokenizer, pairs, tokens)
    size = math.ceil(len(pairs) / cores())
    shares = [pairs[at : at + size] for at in range(0, len(pairs), size)]
    with ProcessPoolExecutor(cores()) as pool:
        parts = pool.map(_share_encoded, itertools.repeat(tokenizer), shares, itertools.repeat(tokens))
        return [row for part in parts for row in part]


def _share_encoded(tokenizer: Tokenizer, pairs: Sequence[Pair], tokens: int) -> list[Encoded]:
    return [encoded(tokenizer, pair.statement, pair.passage, tokens) for pair in pairs]


def scores(
    network: GroundingNetwork, tokenizer: Tokenizer, pairs: Sequence[Pair], plan: Plan
) -> tuple[NDArray[np.float32], dict[str, float]]:
    """The offsets that make the verdicts on ``pairs`` fair, and with them for each source the mean recall of the three
    verdicts, the 2-way accuracy, and ``score``, the mean of all these."""
    labels = np.array([pair.label for pair in pairs])
    sources, groups = np.unique([pair.source for pair in pairs], return_inverse=True)
    logits = predictions(network, tokenizer, pairs, plan)
    offsets = fair_offsets(labels, logits, groups)
    found: dict[str, float] = {}
    for group, source in enumerate(sources):
        mine = groups == group
        found[str(source)] = macro_recall(labels[mine], logits[mine] + offsets)
        found[f"{source} supported"] = supported_accuracy(labels[mine], logits[mine] + offsets)
    return offsets, found | {"score": float(np.mean(list(found.values())))}


def predictions(
    network: GroundingNetwork, tokenizer: Tokenizer, pairs: Sequence[Pair], plan: Plan
) -> NDArray[np.float32]:
    """Logits ``[len(pairs), 3]``."""
    rows = [encoded(tokenizer, pair.statement, pair.passage, plan.tokens) for pair in pairs]
    found = np.zeros((len(rows), 3), np.float32)
    network.eval()
    with torch.inference_mode():
        for batch in token_batches([len(row) for row in rows], plan.batch_tokens * 2):
            logits = _logits(network, [rows[at] for at in batch], plan)
            found[batch] = logits.cpu().numpy()
    return found


def _learn(network: GroundingNetwork, rows: Sequence[Encoded], labels: Sequence[int], plan: Plan) -> float:
    wanted = torch.tensor(labels, device=plan.device)
    loss = torch.nn.functional.cross_entropy(_logits(network, rows, plan), wanted, label_smoothing=0.03)
    (loss / plan.accumulate).backward()  # type: ignore[no-untyped-call]
    return float(loss.detach())


def _logits(network: GroundingNetwork, rows: Sequence[Encoded], plan: Plan) -> torch.Tensor:
    inputs = model_inputs(rows)
    given = {name: torch.from_numpy(each).to(plan.device) for name, each in inputs.items()}
    with torch.autocast(plan.device.partition(":")[0], torch.bfloat16, enabled=plan.half):
        logits: torch.Tensor = network(**given)
    return logits.float()


def _batches(lengths: Sequence[int], plan: Plan, skip: int) -> Iterator[list[int]]:
    """Batches without end: of like length, in an order drawn anew for each round; the first ``skip`` are left out."""
    turn = 0
    while True:
        rng = np.random.default_rng([plan.seed, turn])
        # A little noise on the lengths, so that a batch does not hold the same company in each round.
        noisy = [int(length + rng.integers(0, 6)) for length in lengths]
        batches = token_batches(noisy, plan.batch_tokens)
        for at in rng.permutation(len(batches)):
            if skip:
                skip -= 1
            else:
                yield batches[at]
        turn += 1


def _share(step: int, plan: Plan) -> float:
    """Of the learning rate: up in a line, down along a cosine to a twentieth."""
    warm = max(1, round(plan.warm_up * plan.steps))
    if step < warm:
        return (step + 1) / warm
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, plan.steps - warm)))


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m eval.train.grounding", description=__doc__)
    steps = parser.add_subparsers(dest="what", required=True)
    made = steps.add_parser("pairs", help="make the training pairs")
    made.add_argument("--data", type=Path, required=True, help="the folder with scifact, squad and cmrc2018")
    made.add_argument("--out", type=Path, required=True)
    made.add_argument("--size", type=int, default=30_000)
    made.add_argument("--choice", type=int, default=180, help="pairs of SQuAD, and as many of CMRC, to choose by")
    made.add_argument("--tokens", type=int, default=64, help="of a passage, at most, estimated")
    made.add_argument("--seed", type=int, default=1)
    run = steps.add_parser("train", help="train on pairs")
    run.add_argument("--pairs", type=Path, required=True)
    run.add_argument("--base", type=Path, required=True, help="multilingual-e5-small: a folder with safetensors")
    run.add_argument("--out", type=Path, required=True, help="checkpoint and adapter; a run there is gone on with")
    run.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    run.add_argument("--threads", type=int, default=0)
    for name, value in asdict(Plan(steps=900)).items():
        if name not in ("device", "half", "lora"):
            run.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    run.add_argument("--rank", type=int, default=32)
    run.add_argument("--float32", action="store_true", help="no bfloat16, even where the processor has it")
    return parser.parse_args(arguments)


def _plan(said: argparse.Namespace) -> Plan:
    fast = said.device != "cpu" or bool({"avx512_bf16", "amx_bf16"} & cpu_flags())
    named = {name: getattr(said, name) for name in asdict(Plan(steps=1)) if name not in ("half", "lora")}
    return Plan(**named, half=fast and not said.float32, lora=LoraShape(said.rank, 2 * said.rank))


def _commit() -> str:
    """Of the code that trains; empty outside a repository, or without git."""
    try:
        said = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent)
    except FileNotFoundError:
        return ""
    return said.stdout.strip()


def _machine(device: str) -> str:
    return torch.cuda.get_device_name(device) if device != "cpu" else f"{cores()} cores, {platform.machine()}"


def main(arguments: Sequence[str]) -> None:
    said = _arguments(arguments)
    if said.what == "pairs":
        kept = choices(said.data, said.choice, said.tokens, said.seed)
        write_pairs(said.out, mixture(said.data, said.size, said.tokens, said.seed))
        write_pairs(said.out.with_name(f"choice-{said.out.name}"), kept)
        return
    if said.threads:
        torch.set_num_threads(said.threads)
    plan, pairs = _plan(said), read_pairs(said.pairs)
    kept = read_pairs(said.pairs.with_name(f"choice-{said.pairs.name}"))
    said.out.mkdir(parents=True, exist_ok=True)
    run = {"plan": asdict(plan), "commit": _commit(), "torch": torch.__version__, "machine": _machine(plan.device)}
    (said.out / PLAN).write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(run), flush=True)
    torch.manual_seed(plan.seed)
    network = open_network(said.base, plan.lora, plan.dropout)
    train(network, Tokenizer(said.base / "tokenizer.json"), pairs, kept, plan, said.out)


if __name__ == "__main__":
    main(sys.argv[1:])
