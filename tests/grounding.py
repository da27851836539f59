"""A grounder whose verdicts can be worked out by hand, a tokenizer of a few words, and tiny data sets of known form."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.tokens import Tokenizer

VOCABULARY = (
    "<s>", "<pad>", "</s>", "<unk>", "the", "tower", "bridge", "was", "not", "opened", "closed", "in", "paris", "rome",
    "1793", "1800", "it", "is", "tall", "old", ".",
)  # fmt: skip


class WordGrounder:
    """Supported when the passage has all the statement's words, contradicted when it has all but one or two."""

    name = "words"

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def check(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        self.asked += pairs
        rows = np.full((len(pairs), 3), 0.1, np.float32)
        for row, (statement, passage) in enumerate(pairs):
            missing = set(statement.lower().rstrip(".").split()) - set(passage.lower().replace(".", "").split())
            rows[row, 0 if not missing else 1 if len(missing) <= 2 else 2] = 0.8
        return rows


def tiny_tokenizer(folder: Path) -> Tokenizer:
    """Of VOCABULARY, with the template of an XLM-R pair."""
    begin, end = ({"SpecialToken": {"id": token, "type_id": 0}} for token in ("<s>", "</s>"))
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in ("A", "B"))
    said: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [begin, first, end],
            "pair": [begin, first, end, end, second, end],
            "special_tokens": {
                token: {"id": token, "ids": [VOCABULARY.index(token)], "tokens": [token]} for token in ("<s>", "</s>")
            },
        },
        "decoder": None,
        "model": {
            "type": "WordLevel", "vocab": {word: at for at, word in enumerate(VOCABULARY)}, "unk_token": "<unk>",
        },
    }  # fmt: skip
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(said), encoding="utf-8")
    return Tokenizer(path)


def write_squad(path: Path, articles: Mapping[str, Sequence[tuple[str, Sequence[tuple[str, str]]]]]) -> None:
    """``{title: [(paragraph, [(question, answer)])]}`` as a gzipped SQuAD file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    said = [
        {
            "title": title,
            "paragraphs": [
                {
                    "context": context,
                    "qas": [
                        {"id": asked, "question": asked, "answers": [{"text": answer, "answer_start": 0}]}
                        for asked, answer in asks
                    ],
                }
                for context, asks in paragraphs
            ],
        }
        for title, paragraphs in articles.items()
    ]
    with gzip.open(path, "wt", encoding="utf-8") as file:
        json.dump({"version": "1", "data": said}, file)


def write_scifact(folder: Path, claims: int = 40) -> None:
    """As many abstracts and claims; claim ``n`` and claim ``n + 1`` share an abstract where n is even."""
    folder.mkdir(parents=True, exist_ok=True)
    with gzip.open(folder / "corpus.jsonl.gz", "wt", encoding="utf-8") as file:
        for number in range(70):
            lines = [
                f"Protein P{number} was studied in {number + 20} mice.",
                f"Loss of P{number} increases the weight of the liver.",
                f"No change was seen in the {number + 3} control animals.",
                f"These results show that P{number} regulates growth.",
            ]
            said = {"_id": str(number), "title": f"P{number} regulates growth", "text": " ".join(lines)}
            file.write(json.dumps({**said, "sentences": lines}) + "\n")
    with gzip.open(folder / "queries.jsonl.gz", "wt", encoding="utf-8") as file:
        for number in range(claims):
            evidence = {"doc": str(number // 2), "label": "SUPPORT" if number % 2 else "CONTRADICT", "sentences": [1]}
            text = f"Loss of P{number // 2} {'increases' if number % 2 else 'decreases'} liver weight."
            file.write(json.dumps({"_id": f"c{number}", "text": text, "evidence": [evidence]}) + "\n")
