"""Folders of TREC files: topics, judgements of four columns, and documents between ``<DOC>`` tags or as JSONL."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from eval.dataset_formats.files import (
    SPLITS,
    corpus,
    files_of,
    legible,
    lines,
    plain_name,
    present,
    refuse,
    split_in,
)
from eval.datasets import Dataset, Qrels, Question
from retrieval.errors import InvalidRequest
from retrieval.types import Document

_TOPICS = re.compile(r"(^|[._-])(topics?|queries|queryfile)([._-]|$)")
_QRELS = re.compile(r"(^|[._-])(qrels?|prels)([._-]|$|\d)")
_TOPIC = re.compile(r"<(top|topic)\b([^>]*)>(.*?)</\1\s*>", re.IGNORECASE | re.DOTALL)
_NUMBER = re.compile(r"\bnumber\s*=\s*[\"']?([^\"'\s>]+)", re.IGNORECASE)
_FIELD = r"<{name}\b[^>]*>(.*?)(?=<(?:/?(?:num|title|desc|narr|query|question|narrative|dom|con|fac|def|smry)\b)|$)"
_LABEL = re.compile(r"^\s*(?:number|topic|title|query|description)\s*:\s*", re.IGNORECASE)
_TITLE = re.compile(r"<(title|headline|head|hl|ti|doctitle)\b[^>]*>(.*?)</\1\s*>", re.IGNORECASE | re.DOTALL)
_BODY = re.compile(r"<(text|body|content)\b[^>]*>(.*?)</\1\s*>", re.IGNORECASE | re.DOTALL)
_DOCNO = re.compile(r"<docno\b[^>]*>(.*?)</docno\s*>", re.IGNORECASE | re.DOTALL)
_ABOUT = re.compile(r"<(docid|docno|dochdr|fileid)\b[^>]*>.*?</\1\s*>", re.IGNORECASE | re.DOTALL)
_BEGIN, _END = re.compile(r"<doc>", re.IGNORECASE), re.compile(r"</doc\s*>", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]{1,200}>")


def recognises(path: Path) -> bool:
    return path.is_dir() and bool(_topics(path)) and bool(_qrels(path))


def read(path: Path, split: str | None) -> Dataset:
    """Topics that have a judgement, in the order of the files.

    Topics and judgements are found by their files' names (``topics*``, ``queries*``; ``qrels*``) and are read from all
    of them, or from those whose name has the split in it as a word. A topic's text is its title, or its description
    where it has no title. Text that is not UTF-8 is taken for Windows Latin-1.
    """
    topics, judgements = _topics(path), _qrels(path)
    found = (
        split if split else next((each for each in SPLITS if any(split_in(file) == each for file in judgements)), "")
    )
    if found:
        topics = [file for file in topics if split_in(file, (*SPLITS, found)) in ("", found)]
        judgements = [file for file in judgements if split_in(file, (*SPLITS, found)) == found]
    if not topics or not judgements:
        raise InvalidRequest(f"{path}: no topics and judgements of the split {found}")
    qrels = _read_qrels(judgements)
    questions: dict[str, Question] = {}
    for file in topics:
        for number, text in _read_topics(file):
            query_id = number if number in qrels else number.lstrip("0")  # 051 among topics is 51 among judgements
            if query_id in qrels:
                questions[query_id] = Question(text)
    if not questions:
        raise InvalidRequest(f"{path}: no topic of {_names(topics)} has a judgement in {_names(judgements)}")
    source = f"{path}, topics of {_names(topics)}, judgements of {_names(judgements)}"
    kept = {query_id: qrels[query_id] for query_id in questions}
    return Dataset(path.resolve().name, found, questions, kept, lambda: _documents(path), source)


def _topics(path: Path) -> list[Path]:
    return [file for file in files_of(path) if _TOPICS.search(plain_name(file)) and not _QRELS.search(plain_name(file))]


def _qrels(path: Path) -> list[Path]:
    return [file for file in files_of(path) if _QRELS.search(plain_name(file))]


def _names(files: Sequence[Path]) -> str:
    return ", ".join(file.name for file in files)


def _read_qrels(files: Iterable[Path]) -> Qrels:
    qrels: Qrels = {}
    for file in files:
        for number, line in lines(file):
            try:
                query_id, _, document_id, grade = line.split()
                qrels.setdefault(query_id, {})[document_id] = int(grade)
            except ValueError:
                refuse(file, number, "wants four columns: query, iteration, document, whole grade")
    return qrels


def _read_topics(file: Path) -> Iterator[tuple[str, str]]:
    """``(number, text)`` of ``<top>`` or ``<topic number=…>`` blocks, else of lines ``number<TAB>text``."""
    numbered = [(number, legible(line)) for number, line in lines(file)]
    whole = "".join(line for _, line in numbered)
    if not re.search(r"<top(ic)?\b", whole, re.IGNORECASE):
        for number, line in numbered:
            query_id, tab, text = line.rstrip("\r\n").partition("\t")
            if not tab or not query_id.strip() or not text.strip():
                refuse(file, number, "wants a query id, a tab and the query")
            yield query_id.strip(), text.strip()
        return
    blocks = list(_TOPIC.finditer(whole))
    opened = len(re.findall(r"<top(?:ic)?(?=[\s>])", whole, re.IGNORECASE))
    if len(blocks) < opened:
        raise InvalidRequest(f"{file}: only {len(blocks)} of {opened} topics have an end, </top>")
    for block in blocks:
        by_attribute = _NUMBER.search(block[2])
        query_id = by_attribute[1] if by_attribute else _field(block[3], "num")
        text = _field(block[3], "title") or _field(block[3], "query") or _field(block[3], "desc")
        if not query_id or not text:
            at = numbered[min(whole.count("\n", 0, block.start()), len(numbered) - 1)][0]
            refuse(file, at, "the topic that begins here has no number, or neither title nor description")
        yield query_id, text


def _field(block: str, name: str) -> str:
    """The content of a field that may lack its end, without the label that TREC repeats in it (``Number: 301``)."""
    found = re.search(_FIELD.format(name=name), block, re.IGNORECASE | re.DOTALL)
    return _plain(_LABEL.sub("", _LABEL.sub("", found[1]))) if found else ""


def _documents(path: Path) -> Iterator[Document]:
    listed = present(path / "corpus.jsonl")
    if listed is not None:
        yield from corpus(listed)
        return
    apart = {*_topics(path), *_qrels(path)}
    for file in files_of(path):
        if file not in apart and _holds_documents(file):
            yield from _marked_up(file)


def _holds_documents(file: Path) -> bool:
    """Whether the first line that is no XML declaration begins a document."""
    try:
        first = next((line for _, line in lines(file) if not line.lstrip().startswith(("<?", "<!"))), "")
    except InvalidRequest:
        return False
    return bool(_BEGIN.match(first.lstrip())) or first.strip().lower() in ("<root>", "<docs>", "<collection>")


def _marked_up(file: Path) -> Iterator[Document]:
    """Documents between ``<DOC>`` and ``</DOC>``, read one at a time."""
    block: list[str] = []
    began = 0
    for number, line in lines(file):
        rest = legible(line)
        while rest:
            if not block:
                begin = _BEGIN.search(rest)
                if begin is None:
                    break
                block, rest, began = [""], rest[begin.end() :], number
            end = _END.search(rest)
            if end is None:
                block.append(rest)
                break
            block.append(rest[: end.start()])
            yield _document("".join(block), file, began)
            block, rest = [], rest[end.end() :]
    if block:
        refuse(file, began, "the document that begins here has no end, </DOC>")


def _document(block: str, file: Path, number: int) -> Document:
    named = _DOCNO.search(block)
    document_id = _plain(named[1]) if named else ""
    if not document_id:
        refuse(file, number, "the document that begins here has no <DOCNO>")
    title = _TITLE.search(block)
    bodies = [match[2] for match in _BODY.finditer(block)] or [_ABOUT.sub("", _TITLE.sub("", block, count=1))]
    text = "\n".join(filter(None, (_paragraphs(body) for body in bodies)))
    return Document(document_id, text, _plain(title[2]) if title else "", source=file.name)


def _paragraphs(marked_up: str) -> str:
    text = html.unescape(_TAG.sub(" ", marked_up))
    return "\n".join(line for line in (" ".join(line.split()) for line in text.splitlines()) if line)


def _plain(marked_up: str) -> str:
    return " ".join(html.unescape(_TAG.sub(" ", marked_up)).split())
