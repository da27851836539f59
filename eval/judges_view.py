"""What ``judges.json`` of a run says of its judges: fit to be believed or not, by language."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class JudgeRow:
    """How one judge did in one language on statements whose support is known."""

    judge: str
    fit: bool | None
    """None where it was never calibrated."""
    language: str
    balanced_accuracy: float | None
    low: float | None
    high: float | None
    n: int | None
    failed: int | None

    @property
    def said(self) -> str:
        return {True: "fit", False: "unfit", None: "not calibrated"}[self.fit]


def judge_rows(judges: Any) -> list[JudgeRow]:
    """A line for each judge and language, all languages together first; none where nothing is known."""
    if not isinstance(judges, Mapping):
        return []
    return [row for name, entry in judges.items() if isinstance(entry, Mapping) for row in _rows(str(name), entry)]


def _rows(name: str, entry: Mapping[str, Any]) -> Iterator[JudgeRow]:
    whole = entry.get("figures")
    languages = entry.get("by_language")
    yield _row(name, entry, "all", whole if isinstance(whole, Mapping) else entry)
    if isinstance(languages, Mapping) and len(languages) > 1:
        for language, figures in languages.items():
            yield _row(name, entry, str(language), figures)


def _row(name: str, entry: Mapping[str, Any], language: str, figures: Mapping[str, Any]) -> JudgeRow:
    fit = entry.get("fit")
    return JudgeRow(
        str(entry.get("judge") or name),
        fit if isinstance(fit, bool) else None,
        language,
        *(figures.get(key) for key in ("balanced_accuracy", "low", "high", "n", "failed")),
    )
