"""`riddle eval compare` and `riddle eval gate`: what changed between two runs, and whether the second may ship."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.commands.common import Debug, Json, print_json, say
from services.commands.eval import eval_of

if TYPE_CHECKING:
    from eval.comparison import Comparison, Difference

Before = Annotated[Path, typer.Argument(metavar="A", help="The run folder of before.")]
After = Annotated[Path, typer.Argument(metavar="B", help="The run folder of after, over the same questions.")]
Metric = Annotated[
    list[str] | None,
    typer.Option(
        "--metric", help="Only this one, such as nDCG@10 or final:nDCG@10; may be repeated.", show_default=False
    ),
]
Level = Annotated[
    float, typer.Option(min=0.0001, max=0.5, help="How often an unchanged system may be taken for a changed one.")
]

TEXT = 60
"""Characters of a query that are printed."""


def register(app: typer.Typer) -> None:
    group = eval_of(app)
    group.command("compare")(compare)
    group.command("gate")(gate)


def compare(
    a: Before,
    b: After,
    metric: Metric = None,
    level: Level = 0.05,
    queries: Annotated[int, typer.Option(min=0, help="How many losses and gains by query are shown.")] = 5,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what changed from run A to run B: by stage and metric, by query, in time and in failures.

    p is of a paired randomisation test; p(all) is corrected for the number of differences shown, after Holm. "detects"
    is the least difference that so many queries show with a chance of 0.8: what is smaller may be there unseen.

    Example: riddle eval compare runs/monday runs/tuesday --metric nDCG@10
    """
    from eval.compare import compare as compare_runs
    from eval.runs import RunFolder

    comparison = compare_runs(RunFolder(a), RunFolder(b), metric or (), level, queries)
    if json:
        print_json(comparison.as_json())
        return
    for line in _lines(comparison):
        say(line)


def gate(
    a: Before,
    b: After,
    metric: Metric = None,
    level: Level = 0.05,
    least: Annotated[
        float, typer.Option(min=0.0, help="A set that cannot detect so small a loss is too small to tell.")
    ] = 0.05,
    min_queries: Annotated[int, typer.Option(min=1, help="Fewer questions than this are too few to tell.")] = 20,
    latency_bound: Annotated[
        float, typer.Option(min=1.0, help="How many times as long as in A a stage may take in B.")
    ] = 1.2,
    times: Annotated[
        str, typer.Option(help="Stages whose times are gated, by commas; all, or none on a machine that is not quiet.")
    ] = "all",
    failures: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="How much the share of failed requests may grow.")
    ] = 0.01,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Say whether run B may take the place of run A.

    Exit code 0: it may. 1: it lost quality significantly, or a stage takes longer than the bound, or more requests
    fail. 3: too few questions to tell. Gated are nDCG@10 and recall of the final stage, and of answers F1 and what
    judges say that were calibrated and found fit; --metric names others. Times want a machine that did nothing else
    during both runs; --times none leaves them out.

    Example: riddle eval gate runs/main runs/branch --least 0.03 --latency-bound 1.3
    """
    from eval.gate import Policy
    from eval.gate import gate as judge
    from eval.runs import RunFolder

    policy = Policy(
        metrics=tuple(metric or ()),
        level=level,
        least=least,
        min_queries=min_queries,
        latency_bound=latency_bound,
        times=None if times == "all" else tuple(each.strip() for each in times.split(",") if each.strip() != "none"),
        failures=failures,
    )
    verdict = judge(RunFolder(a), RunFolder(b), policy)
    if json:
        print_json(verdict.as_json())
    else:
        for line in _lines(verdict.comparison):
            say(line)
        say()
        for line in (f"{verdict.outcome}: {reason}" for reason in verdict.reasons):
            say(line)
        for line in verdict.ungated:
            say(f"not gated: {line}")
        if not verdict.reasons:
            say(f"passed: {b.name} may take the place of {a.name}")
    raise typer.Exit(verdict.exit_code)


def _lines(comparison: Comparison) -> Iterator[str]:
    """The comparison as tables for people."""
    yield f"{comparison.a} -> {comparison.b}: {comparison.queries} questions of {comparison.dataset or 'no name'}"
    yield from (f"note: {note}" for note in comparison.notes)
    yield ""
    yield from _table(
        ("stage", "metric", "A", "B", "B - A", "interval", "p", "p(all)", "detects", "won/lost/same"),
        [_row(each, comparison.level) for each in comparison.differences],
    )
    if any(each.corrected < comparison.level for each in comparison.differences):
        yield f"* p(all) below {comparison.level:g}"
    for each in comparison.differences:
        if each.unscored:
            yield f"{each.name}: {each.unscored} questions left out, which one of the runs has no value of"
        if each.unfit:
            yield f"{each.name}: not to be believed, {each.unfit}"
    yield from _by_query(comparison.differences)
    if comparison.latencies:
        yield ""
        yield from _table(
            ("time of", "n", "A p50", "B p50", "ms", "ratio", "paired ratio", "A p95", "B p95", "ratio", "interval"),
            list(_times(comparison)),
        )
    if comparison.times_differ:
        yield f"times say nothing of the systems: {comparison.times_differ}"
    for part in comparison.failures:
        if part.a or part.b:
            yield f"failed ({part.part}), counted 0: {part.a} of {part.asked} in A, {part.b} in B"


def _row(each: Difference, level: float) -> tuple[str, ...]:
    mark = "*" if each.corrected < level else ""
    return (
        each.stage,
        each.metric,
        f"{each.mean_a:.4f}",
        f"{each.mean_b:.4f}",
        f"{each.difference:+.4f}",
        f"{each.low:+.4f} to {each.high:+.4f}",
        f"{each.p:.4f}",
        f"{each.corrected:.4f}{mark}",
        f"{each.least:.4f}" if each.least < 1 else "none",
        f"{each.wins}/{each.losses}/{each.ties}",
    )


def _times(comparison: Comparison) -> Iterator[tuple[str, ...]]:
    for each in comparison.latencies:
        yield (
            each.stage,
            str(each.queries),
            f"{each.p50_a:.1f}",
            f"{each.p50_b:.1f}",
            f"{each.p50_b - each.p50_a:+.1f}",
            f"{each.p50.value:.2f}",
            f"{each.paired.value:.2f} ({each.paired.low:.2f} to {each.paired.high:.2f})",
            f"{each.p95_a:.1f}",
            f"{each.p95_b:.1f}",
            f"{each.p95.value:.2f}",
            f"{each.p95.low:.2f} to {each.p95.high:.2f}",
        )


def _by_query(differences: Iterable[Difference]) -> Iterator[str]:
    """The largest losses and gains of the metric that stands for the rest: nDCG of the final stage, or the first."""
    listed = list(differences)
    chosen = [each for each in listed if each.stage == "final" and each.metric.startswith("nDCG")] or listed
    for each in chosen[:1]:
        for what, changes in (("lost most", each.lost), ("gained most", each.won)):
            if changes:
                yield f"\n{what} in {each.name}:"
            for change in changes:
                yield f"  {change.a:.3f} -> {change.b:.3f}  {change.query_id}  {_short(change.text)}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= TEXT else line[: TEXT - 1] + "…"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns of text as wide as they need, the first two to the left and the others to the right."""
    every = [head, *rows]
    widths = [max(len(row[column]) for row in every) for column in range(len(head))]
    for row in every:
        cells = (
            f"{cell:<{width}}" if place < 2 else f"{cell:>{width}}"
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()
