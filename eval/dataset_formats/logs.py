"""Logs of what users did, as questions with judgements: JSONL of one's own, and the feedback that Riddle keeps."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from eval.dataset_formats.behaviour import ClickRule, Seen, grades_of, normalised
from eval.dataset_formats.files import files_of, lines, plain_name, refuse, rows
from eval.datasets import Dataset, Qrels, Question
from eval.usage_rows import FEEDBACK_FOLDER, FEEDBACK_ROW, FeedbackRow, query_rows
from retrieval.errors import InvalidRequest

_SEARCH = ("search_id", "request_id", "session", "session_id")
_SAID = ("grade", "rating", "clicked")
_OURS = frozenset(("kind", "request_id", "served"))
_WORDS: Mapping[object, float] = {"up": 1, "down": -1, "yes": 1, "no": 0, "good": 1, "bad": -1}
_DIGEST = "hmac:"
_USUAL = ClickRule()
_LOOKED_AT = 50
"""Rows at the beginning of a file by which a log is recognised."""


def recognises(path: Path) -> bool:
    """JSONL whose first rows judge a ``document_id`` for a ``query``, or a folder of it, such as HOME/feedback."""
    return bool(_files(path))


def read(path: Path, split: str | None, rule: ClickRule = _USUAL) -> Dataset:
    """Queries with at least one document of grade 1 or better, in the order of their first row.

    Rows of one's own are ``{"query", "document_id"}`` with one of ``clicked``, ``rating``, ``grade``, and perhaps
    ``rank`` and ``session``; one with ``clicked`` false is a document that was shown and not opened. Riddle's own say
    what their search had served, and the query log beside HOME/feedback what searches without a click had. Wordings
    that differ only in case, white space and final marks are one query, asked in its commonest wording. What becomes
    of them: ``behaviour.grades_of``. ``split`` names the collection where a log is about several.
    """
    seen: dict[str, Seen] = {}
    ours: list[FeedbackRow] = []
    for file in _files(path):
        if _is_ours(file):
            ours += _ours(file)
        else:
            for number, row in rows(file):
                _take(seen, file, number, row)
    if split and not ours:
        raise InvalidRequest(f"{path}: this log has no parts, so leave out --split {split}")
    _take_ours(seen, _of_one_collection(path, ours, split))
    if path.name == FEEDBACK_FOLDER and path.is_dir():
        _take_searches(seen, path.parent, split or (ours[0].collection if ours else ""))
    questions: dict[str, Question] = {}
    qrels: Qrels = {}
    for (normal, each), grades in zip(seen.items(), grades_of(seen.values(), rule), strict=True):
        if any(grade > 0 for grade in grades.values()):
            query_id = "q" + hashlib.sha256(normal.encode()).hexdigest()[:12]
            questions[query_id] = Question(each.wordings.most_common(1)[0][0])
            qrels[query_id] = grades
    if not questions:
        raise InvalidRequest(
            f"{path}: no query has a document that was found relevant; a click counts once {rule.least_searches} "
            "searches have shown its document"
        )
    return Dataset(path.resolve().name.split(".")[0], split or "", questions, qrels, lambda: iter(()), str(path))


def _files(path: Path) -> list[Path]:
    files = [path] if path.is_file() else files_of(path)
    jsonl = [file for file in files if plain_name(file).endswith((".jsonl", ".ndjson"))]
    return [file for file in jsonl if _is_ours(file) or any(map(_judges, islice(_parsed(file), _LOOKED_AT)))]


def _is_ours(file: Path) -> bool:
    """Told by the first line alone, which no crash cuts short: the server begins a file anew or behind a line's end."""
    _, first = next(lines(file), (0, ""))
    return all(f'"{name}":' in first for name in _OURS)


def _parsed(file: Path) -> Iterable[Mapping[str, Any]]:
    return (row for _, row in rows(file))


def _judges(row: Mapping[str, Any]) -> bool:
    return {"query", "document_id"} <= row.keys() and not row.keys().isdisjoint(_SAID)


def _take(seen: dict[str, Seen], file: Path, number: int, row: Mapping[str, Any]) -> None:
    query, document = row.get("query"), row.get("document_id")
    if not isinstance(query, str) or not normalised(query) or not isinstance(document, str | int):
        refuse(file, number, "needs the query and the document_id")
    what = next((name for name in _SAID if row.get(name) is not None), "")
    if not what:
        refuse(file, number, f"needs one of {', '.join(_SAID)}")
    value = _WORDS.get(row[what], row[what]) if isinstance(row[what], str) else row[what]
    if not isinstance(value, int | float) or not math.isfinite(value):
        refuse(file, number, f"{what} is a number, not {value!r}")
    each = seen.setdefault(normalised(query), Seen())
    each.wordings[" ".join(query.split())] += 1
    search = next((f"{name} {row[name]}" for name in _SEARCH if row.get(name) is not None), f"{file} {number}")
    if what == "clicked":
        rank = 1 if row.get("rank") is None else row["rank"]
        if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
            refuse(file, number, "rank is a whole number from 1")
        each.show(search, str(document), rank, clicked=bool(value))
    else:
        told = each.ratings if what == "rating" else each.judgements
        told[str(document)][f"{file} {number}"] = float(value)


def _ours(file: Path) -> Iterable[FeedbackRow]:
    """Rows of one file of HOME/feedback. A line that a crash cut short is left out; one of another kind is refused."""
    for number, line in lines(file):
        try:
            yield FEEDBACK_ROW.validate_json(line)
        except ValidationError as error:
            if error.errors()[0]["type"] != "json_invalid":
                refuse(file, number, f"is no row of feedback ({error.errors()[0]['msg']})")


def _of_one_collection(path: Path, ours: Iterable[FeedbackRow], split: str | None) -> list[FeedbackRow]:
    kept = [row for row in ours if row.document_id and split in (None, row.collection)]
    names = sorted({row.collection for row in kept})
    if len(names) > 1:
        raise InvalidRequest(f"{path} is about {', '.join(names)}: name one of these collections with --split")
    asked = [row for row in kept if not row.query.startswith(_DIGEST)]
    if kept and not asked:
        raise InvalidRequest(f"{path}: queries were kept as digests (log.queries), which cannot be asked again")
    return asked


def _take_ours(seen: dict[str, Seen], feedback: Iterable[FeedbackRow]) -> None:
    for row in feedback:
        each = seen.setdefault(normalised(row.query), Seen())
        each.wordings[" ".join(row.query.split())] += 1
        who = f"{row.key} {row.request_id}"
        if row.kind == "click":
            before = row.rank - 1 - row.served.index(row.passage_id) if row.passage_id in row.served else 0
            for place, passage_id in enumerate(row.served, 1 + max(0, before)):
                each.show(who, passage_id.rpartition("#")[0], place, clicked=False)
            each.show(who, row.document_id, row.rank, clicked=True)
        elif row.kind == "rating" and not row.value:  # taken back
            each.ratings[row.document_id].pop(who, None)
        elif row.value is not None:
            told = each.ratings if row.kind == "rating" else each.judgements
            told[row.document_id][who] = row.value


def _take_searches(seen: Mapping[str, Seen], home: Path, collection: str) -> None:
    """What searches of the same queries had shown; those that nobody clicked in tell as well."""
    for row in query_rows(home):
        each = seen.get(normalised(row.query))
        if each is not None and each.searches and row.collection == collection:
            for place, served in enumerate(row.results, row.offset + 1):
                each.show(f"{row.key} {row.request_id}", served.document_id, place, clicked=False)
