"""Late interaction's opinion of every list that it can read, added to the file of lists as a second teacher's.

``python -m ranking.train.late_teacher --lists scored.jsonl.gz --model LATE_MODEL_DIR --out both.jsonl.gz``
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ranking.train.lists import Lists, RankedList, read_lists, write_lists
from ranking.train.mining import Told
from retrieval.errors import RiddleError
from retrieval.late_encoder import LateEncoder, open_late
from retrieval.models import read_model
from retrieval.token_vectors import TokenCodes, joined

_AT_ONCE = 256
"""Passages that are encoded, and their number between two words about it."""


def late_scored(lists: Lists, encoder: LateEncoder, told: Told) -> Lists:
    """The same lists, those that the encoder reads with its scores: the mean over a query's tokens of the best cosine,
    as searches have it. Each passage is encoded once, and its codes are held: some 27 bytes a token at 2 bits.

    Of what is in another language the translation is read that the teacher reads, where there is one.
    """
    readable = [each for each in lists.lists if _readable(each, encoder)]
    names = sorted({name for each in readable for name in _passages(each)})
    codes: dict[str, TokenCodes] = {}
    for at in range(0, len(names), _AT_ONCE):
        some = names[at : at + _AT_ONCE]
        encoded = encoder.encode([lists.texts[name] for name in some])
        codes |= {name: encoded.one(number) for number, name in enumerate(some)}
        told(f"{at + len(some)}/{len(names)} passages encoded")
    found: dict[str, tuple[float, ...]] = {}
    for each in readable:
        of_list = [codes[name] for name in _passages(each)]
        whole = joined(encoder.spec, of_list, [1] * len(of_list))
        scores = whole.scores(encoder.query(each.teacher_query or each.query))
        found[each.list_id] = tuple(round(float(score), 5) for score in scores)
    return Lists(lists.texts, [replace(each, late=found.get(each.list_id, ())) for each in lists.lists])


def _readable(each: RankedList, encoder: LateEncoder) -> bool:
    known = encoder.languages
    return "*" in known or each.language in known or (bool(each.teacher_query) and "en" in known)


def _passages(each: RankedList) -> tuple[str, ...]:
    return each.teacher_passages or each.passages


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m ranking.train.late_teacher", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--lists", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True, help="folder of a model of late interaction")
    parser.add_argument("--bits", type=int, choices=[2, 4], default=4, help="that a dimension is kept in meanwhile")
    parser.add_argument("--out", type=Path, required=True)
    said = parser.parse_args(arguments)
    try:
        encoder = open_late(read_model(said.model), bits=said.bits)
        lists = late_scored(read_lists(said.lists), encoder, lambda text: print(text, flush=True))
    except RiddleError as error:
        raise SystemExit(error.detail) from None
    write_lists(said.out, lists)
    print(f"{sum(bool(each.late) for each in lists.lists)} of {len(lists.lists)} lists scored")


if __name__ == "__main__":
    main(sys.argv[1:])
