"""What ``frontier.json`` of a sweep shows: its points, which are beaten, and the one that it recommends."""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from eval.frontier import Frontier, Row
from eval.run_tables import Table

FRONTIER = "frontier.json"


def sweeps_in(root: Path) -> dict[str, Frontier]:
    """The finished sweeps below ``root``, itself among them, by their place; files of another kind are passed over."""
    found: dict[str, Frontier] = {}
    for path in sorted(root.rglob(FRONTIER)):
        folder = path.parent
        try:
            read: Frontier = _FRONTIER.validate_json(path.read_bytes())
        except ValidationError:
            continue
        found[folder.resolve().name if folder == root else folder.relative_to(root).as_posix()] = read
    return found


def sweep_table(found: Frontier) -> Table:
    """The best quality first."""
    return Table(
        ("settings", found.metric, "behind the best", "p", "p50 ms", "p95 ms", "cost of 1,000", "said"),
        tuple(
            (_words(row), row.quality, row.behind, row.p, row.p50_ms, row.p95_ms, row.cost, _said(row, found))
            for row in sorted(found.rows, key=lambda row: -row.quality)
        ),
    )


def _words(row: Row) -> str:
    return ", ".join(f"{key} = {value}" for key, value in row.settings.items()) or row.name


def _said(row: Row, found: Frontier) -> str:
    told = ("recommended" if row.name == found.recommended else "", "best" if row.name == found.best else "")
    quality = "" if row.as_good else "significantly worse"
    return ", ".join(filter(None, (*told, quality, "" if row.unbeaten else "beaten"))) or "–"


_FRONTIER = TypeAdapter(Frontier)
