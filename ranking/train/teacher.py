"""The teacher's opinion of every list it can read, added to the file of lists.

``python -m ranking.train.teacher --lists lists.jsonl.gz --model MODEL_DIR --out scored.jsonl.gz``
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ranking.train.judging import list_scores
from ranking.train.lists import Lists, RankedList, read_lists, write_lists
from ranking.train.networks import teacher_network
from retrieval.tokens import Tokenizer

_LISTS_AT_ONCE = 4000


def scored(lists: Lists, model: Path, kept: Path, tokens: int, device: str, batch_tokens: int) -> Lists:
    """The same lists, those that the teacher reads with its logits.

    ``kept`` gets a line of JSON for each list as it is scored, and is gone on with. ``model`` is a folder with
    ``model.onnx`` and ``tokenizer.json``.
    """
    done = _done(kept)
    tokenizer = Tokenizer(model / "tokenizer.json")
    network = teacher_network(model / "model.onnx").to(device)
    waiting = [each for each in lists.lists if each.for_teacher and each.list_id not in done]
    began = time.monotonic()
    with kept.open("a", encoding="utf-8") as file:
        for at in range(0, len(waiting), _LISTS_AT_ONCE):
            some = waiting[at : at + _LISTS_AT_ONCE]
            asked = [_asked(each, lists) for each in some]
            for each, scores in zip(some, list_scores(network, tokenizer, asked, tokens, batch_tokens), strict=True):
                done[each.list_id] = [round(float(score), 4) for score in scores]
                file.write(json.dumps([each.list_id, done[each.list_id]]) + "\n")
            file.flush()
            spent, pairs = time.monotonic() - began, sum(len(each.passages) for each in waiting[: at + len(some)])
            print(f"{at + len(some)}/{len(waiting)} lists, {pairs / spent:.0f} pairs/s", flush=True)
    told = [replace(each, scores=tuple(done.get(each.list_id, ()))) for each in lists.lists]
    return Lists(lists.texts, told)


def _asked(each: RankedList, lists: Lists) -> tuple[str, list[str]]:
    passages = each.teacher_passages or each.passages
    return each.teacher_query or each.query, [lists.texts[passage] for passage in passages]


def _done(kept: Path) -> dict[str, list[float]]:
    """What was scored before; a last line that was cut by a kill is left out, and overwritten."""
    if not kept.is_file():
        return {}
    lines = kept.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    if len(whole) < len(lines):
        kept.write_text("".join(whole), encoding="utf-8")
    return dict(json.loads(line) for line in whole)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m ranking.train.teacher", description=__doc__)
    parser.add_argument("--lists", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True, help="a folder with model.onnx and tokenizer.json")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--batch-tokens", type=int, default=0, help="0: 4,000 on a CPU, 131,000 on a GPU")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    said = parser.parse_args(arguments)
    budget = said.batch_tokens or (4_000 if said.device == "cpu" else 131_000)
    kept = said.out.with_name(f"{said.out.name}.scores")
    write_lists(said.out, scored(read_lists(said.lists), said.model, kept, said.tokens, said.device, budget))


if __name__ == "__main__":
    main(sys.argv[1:])
