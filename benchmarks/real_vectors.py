"""A million distinct real sentences out of RIDDLE_DATA, and their all-MiniLM-L6-v2 vectors: what vector benches run on.

    python -m benchmarks.real_vectors extract DATA OUT                # OUT/sentences.txt.gz, seeded order
    python -m benchmarks.real_vectors embed MODEL OUT [--device cuda] # OUT/vectors.i8.npy, OUT/scales.npy

``embed`` needs torch and transformers alone, so that it runs on a bare GPU host. Vectors are stored as int8 with one
float32 scale each (``codes * scale``); against the float32 vectors the cosine is above 0.9999.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.sentences import sentences

SEED = 20261124
COUNT = 1_010_000
"""A million to index, and ten thousand held out as queries: the last ones of the file."""
_FIELDS = ("title", "text", "context", "question", "en", "zh", "answer")


def all_texts(data: Path) -> Iterator[str]:
    """Every text of every file below ``data``."""
    for path in sorted(data.rglob("*.gz")):
        if path.name.endswith(".json.gz"):
            with gzip.open(path, "rt", encoding="utf-8") as file:
                yield from _strings(json.load(file))
        elif path.name.endswith(".jsonl.gz"):
            with gzip.open(path, "rt", encoding="utf-8") as file:
                for line in file:
                    yield from _strings(json.loads(line))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if isinstance(inner, str):
                if name in _FIELDS:
                    yield inner
            else:
                yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def extract(data: Path, out: Path) -> None:
    """Distinct sentences of 4 to 60 words (12 to 400 characters), shuffled by seed, cut to COUNT."""
    found: set[str] = set()
    for text in all_texts(data):
        for start, end in sentences(text):
            sentence = " ".join(text[start:end].split())
            if 12 <= len(sentence) <= 400 and (4 <= sentence.count(" ") + 1 <= 60 or not sentence.isascii()):
                found.add(sentence)
    ordered = sorted(found)
    random.Random(SEED).shuffle(ordered)
    print(f"{len(ordered):,} distinct sentences, {min(len(ordered), COUNT):,} kept")
    out.mkdir(parents=True, exist_ok=True)
    with gzip.open(out / "sentences.txt.gz", "wt", encoding="utf-8") as file:
        file.writelines(f"{sentence}\n" for sentence in ordered[:COUNT])


def embed(model: Path, out: Path, device: str, batch: int = 2048) -> None:
    """Mean pooling over tokens, cut at 128, unit norm; batches of like length."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    with gzip.open(out / "sentences.txt.gz", "rt", encoding="utf-8") as file:
        lines = [line.rstrip("\n") for line in file]
    tokenizer = AutoTokenizer.from_pretrained(str(model))
    encoder = AutoModel.from_pretrained(str(model)).to(device).eval()
    encoder = encoder.half() if device != "cpu" else encoder
    codes = np.zeros((len(lines), 384), np.int8)
    scales = np.zeros(len(lines), np.float32)
    order = sorted(range(len(lines)), key=lambda i: len(lines[i]))
    with torch.inference_mode():
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            texts = [lines[i] for i in rows]
            inputs = tokenizer(texts, padding=True, truncation=True, max_length=128, return_tensors="pt").to(device)
            hidden = encoder(**inputs).last_hidden_state.float()
            mask = inputs["attention_mask"][:, :, None].float()
            pooled = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)
            largest = pooled.abs().amax(1)
            codes[rows] = torch.round(pooled * (127 / largest)[:, None]).to(torch.int8).cpu().numpy()
            scales[rows] = (largest / 127).cpu().numpy()
            if start // batch % 50 == 0:
                print(f"{start:,} of {len(order):,}", flush=True)
    np.save(out / "vectors.i8.npy", codes)
    np.save(out / "scales.npy", scales)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["extract", "embed"])
    parser.add_argument("source", type=Path, help="RIDDLE_DATA for extract, the model's folder for embed")
    parser.add_argument("out", type=Path)
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args()
    if chosen.step == "extract":
        extract(chosen.source, chosen.out)
    else:
        embed(chosen.source, chosen.out, chosen.device)


if __name__ == "__main__":
    main()
