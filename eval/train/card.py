"""Puts a trained adapter where Riddle ships it, with a card: what it was trained on, how, how long, how chosen.

``python -m eval.train.card --run RUN_DIR --pairs pairs.jsonl.gz --out services/adapters/riddle-grounding``
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from eval.train.mixture import read_pairs
from retrieval.errors import InvalidRequest
from retrieval.models import sha256

LICENCES = {
    "multilingual-e5-small": "MIT",
    "scifact": "CC BY 4.0 (claims and evidence), ODC-By 1.0 (abstracts)",
    "squad": "CC BY-SA 4.0",
    "cmrc2018": "CC BY-SA 4.0",
}
"""Of the base, and of what the pairs were made from; none of their text is in the adapter."""


def ship(run: Path, pairs_file: Path, out: Path) -> None:
    """Copy the adapter of ``run`` to ``out``, and write ``card.json`` beside it.

    Raises InvalidRequest when the folder holds no run that came to an adapter.
    """
    try:
        plan = json.loads((run / "plan.json").read_text(encoding="utf-8"))
        journal = [json.loads(line) for line in (run / "journal.jsonl").read_text(encoding="utf-8").splitlines()]
        weights = (run / "adapter.safetensors").read_bytes()
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"{run} holds no run with an adapter: {error}") from None
    pairs = read_pairs(pairs_file)
    out.mkdir(parents=True, exist_ok=True)
    target = out / "adapter.safetensors"
    target.write_bytes(weights)
    said = {
        "name": out.name,
        "base": "multilingual-e5-small",
        "labels": ["supported", "contradicted", "absent"],
        "file": {"name": target.name, "bytes": len(weights), "sha256": sha256(target)},
        "licences": LICENCES,
        "pairs": {
            "count": len(pairs),
            "by_source": dict(sorted(Counter(pair.source for pair in pairs).items())),
            "by_kind": dict(sorted(Counter(pair.kind for pair in pairs).items())),
        },
        **plan,
        "steps_done": journal[-1]["step"],
        "chosen": max(journal, key=lambda each: float(each["score"])),
    }
    (out / "card.json").write_text(json.dumps(said, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m eval.train.card", description=__doc__)
    for name in ("run", "pairs", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    said = parser.parse_args(arguments)
    ship(said.run, said.pairs, said.out)


if __name__ == "__main__":
    main(sys.argv[1:])
