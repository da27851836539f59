"""Makes the file that rerankers are trained on, source after source, going on where it was stopped.

``python -m ranking.train.make_lists --data DIR --home .riddle --out lists.jsonl.gz``
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ranking.train.lists import Lists, fraction, merged, read_lists, write_lists
from ranking.train.mining import Depths, Told, mined, named_collection, open_collection
from ranking.train.sources import LONGEST, SHARE, SOURCES, Asked, Source, python_pairs
from ranking.train.translated import documents, translated_lists
from retrieval.encoders import open_encoder
from retrieval.models import find_model

PYTHON = "python"


def make(data: Path, home: Path, out: Path, share: float, seed: int, told: Told, only: Sequence[str] = ()) -> Lists:
    """All lists, and ``out`` with them. What a source gave lies in ``out``'s folder of parts until it is deleted.

    ``share`` of each source's train questions is taken, ``only`` names the sources where not all are wanted; encoders
    and collections are looked for in ``home``.
    """
    parts = out.with_name(f"{out.name}.parts")
    parts.mkdir(parents=True, exist_ok=True)
    steps: dict[str, Callable[[], Lists]] = {
        source.name: lambda source=source: _of_source(source, data, home, parts, share, seed, told)  # type: ignore[misc]
        for source in SOURCES
    }
    steps[PYTHON] = lambda: _of_python(data, parts, round(5000 * share), seed, told)
    found = []
    for name, step in steps.items():
        if only and name not in only:
            continue
        done = parts / f"{name}-{share:g}-{seed}.jsonl.gz"
        if not done.is_file():
            began = time.monotonic()
            write_lists(done, step())
            told(f"{name}: done in {time.monotonic() - began:.0f} s")
        found.append(read_lists(done))
    lists = merged(found)
    write_lists(out, lists)
    return lists


def _of_source(source: Source, data: Path, home: Path, parts: Path, share: float, seed: int, told: Told) -> Lists:
    encoder = open_encoder(find_model(source.encoder, home)) if source.encoder else None
    kept, asked = source.read(data)
    if encoder:
        collection = named_collection(home / "collections", source.collection, encoder)
    else:
        short = [replace(each, text=each.text[: LONGEST[source.language]]) for each in kept]
        collection = open_collection(parts / "collections" / source.name, short, told)
    chosen = chosen_questions(asked, round(source.train * share), source.dev)
    return mined(source, chosen, collection.snapshot(), encoder, Depths(), seed, told)


def _of_python(data: Path, parts: Path, count: int, seed: int, told: Told) -> Lists:
    pairs = [each for each in python_pairs(data) if fraction(f"some {each.paragraph_id.partition('#')[0]}") < SHARE]
    collection = open_collection(parts / "collections" / PYTHON, documents(pairs), told)
    return translated_lists(pairs, count, collection.snapshot(), seed, told)


def chosen_questions(asked: Sequence[Asked], train: int, dev: int) -> list[Asked]:
    """As many of each part at most, chosen by a hash of their ids, in their order."""
    by_hash = sorted(asked, key=lambda each: fraction(f"choice {each.question_id}"))
    kept = {each.question_id for part, most in (("train", train), ("dev", dev))
            for each in [one for one in by_hash if one.part == part][:most]}  # fmt: skip
    return [each for each in asked if each.question_id in kept]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m ranking.train.make_lists", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds the sets")
    parser.add_argument("--home", type=Path, default=Path(".riddle"), help="models and collections")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=[], help="sources, by name")
    parser.add_argument("--share", type=float, default=1.0, help="of each source's train questions")
    parser.add_argument("--seed", type=int, default=1)
    said = parser.parse_args(arguments)
    began = time.monotonic()
    lists = make(said.data, said.home, said.out, said.share, said.seed,
                 lambda text: print(f"{time.monotonic() - began:6.0f} s  {text}", flush=True), said.only)  # fmt: skip
    counts = Counter((each.source, each.part) for each in lists.lists)
    for (source, part), count in sorted(counts.items()):
        print(f"{source} {part}: {count} lists")


if __name__ == "__main__":
    main(sys.argv[1:])
