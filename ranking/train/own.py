"""Lists of a user's own: questions and judgements in BEIR's form, with hard negatives out of the user's own collection.

``python -m ranking.train.own --judgements FOLDER --collection handbook --home .riddle --out lists.jsonl.gz``
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from ranking.train.lists import Lists, part_of, write_lists
from ranking.train.mining import Depths, mined
from ranking.train.sources import LONGEST, Asked, Source
from retrieval.encoders import open_encoder
from retrieval.errors import InvalidRequest, RiddleError
from retrieval.maintenance import BACKGROUND
from retrieval.models import find_model
from retrieval.snapshot import Snapshot
from retrieval.store import CollectionStore
from retrieval.types import Encoder


def asked_in(folder: Path, split: str, name: str) -> list[Asked]:
    """The questions of ``queries.jsonl`` with a relevant document in ``qrels/SPLIT.tsv`` or ``qrels_SPLIT.tsv``, either
    gzipped or not; a fifth, by a hash of their ids, is held apart. Raises InvalidRequest where a file is missing."""
    relevant: dict[str, set[str]] = {}
    for line in _lines(folder, f"qrels/{split}.tsv", f"qrels_{split}.tsv"):
        query_id, document_id, grade = [*line.rstrip("\n").split("\t"), "", ""][:3]
        # The header's grade is no number.
        if grade.replace(".", "", 1).isdigit() and float(grade) > 0:
            relevant.setdefault(query_id, set()).add(document_id)
    asked = []
    for line in _lines(folder, "queries.jsonl"):
        row = json.loads(line)
        if row["_id"] in relevant:
            wanted = frozenset(relevant[row["_id"]])
            asked.append(Asked(f"{name}/{row['_id']}", part_of(name, row["_id"]), str(row["text"]), wanted))
    return asked


def own_lists(folder: Path, split: str, snapshot: Snapshot, encoder: Encoder | None, language: str) -> Lists:
    """A list for each question of ``folder`` out of what a collection finds, by words alone without its encoder.

    Raises InvalidRequest where there is no such question, or a relevant document is not in the collection.
    """
    name = snapshot.info.name
    asked = asked_in(folder, split, name)
    if not asked:
        raise InvalidRequest(f"no question of {folder} has a relevant document in the part {split}")
    source = Source(name, language, lambda root: ([], []))
    return mined(source, asked, snapshot, encoder, Depths(), 1, lambda text: print(text, flush=True))


def _lines(folder: Path, *names: str) -> Iterator[str]:
    for name in names:
        for path, opened in ((folder / name, open), (folder / f"{name}.gz", gzip.open)):
            if path.is_file():
                with opened(path, "rt", encoding="utf-8") as file:
                    yield from file
                return
    raise InvalidRequest(f"{folder} has no {' and no '.join(names)}")


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m ranking.train.own", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--judgements", type=Path, required=True, help="folder with queries.jsonl and qrels")
    parser.add_argument("--split", default="train", help="the part of the judgements")
    parser.add_argument("--collection", required=True, help="that holds the judged documents, by their ids")
    parser.add_argument("--home", type=Path, default=Path(".riddle"), help="collections and models")
    parser.add_argument("--language", choices=list(LONGEST), default="en", help="of questions and documents")
    parser.add_argument("--out", type=Path, required=True)
    said = parser.parse_args(arguments)
    try:
        collection = CollectionStore(said.home / "collections", BACKGROUND).open(said.collection)
        name = collection.encoder.name
        encoder = open_encoder(find_model(name, said.home)) if name else None
        lists = own_lists(said.judgements, said.split, collection.snapshot(), encoder, said.language)
    except RiddleError as error:
        raise SystemExit(error.detail) from None
    write_lists(said.out, lists)
    for part, count in sorted(Counter(each.part for each in lists.lists).items()):
        print(f"{part}: {count} lists")


if __name__ == "__main__":
    main(sys.argv[1:])
