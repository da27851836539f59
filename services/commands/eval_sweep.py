"""`riddle eval sweep`: tries every combination of some settings, and says which to take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.commands.common import Config, Debug, Home, Json, note, print_json, say
from services.commands.eval import eval_of

if TYPE_CHECKING:
    from eval.frontier import Frontier, Prices
    from eval.sweep import Progress, Runner
    from services.sweeping import Asked


def register(app: typer.Typer) -> None:
    eval_of(app).command("sweep")(sweep)


def sweep(
    dataset: Annotated[str, typer.Option(help="The questions, as `riddle eval run` takes them.")],
    out: Annotated[Path, typer.Option(help="Folder of the sweep; one that was stopped goes on in it.", metavar="DIR")],
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=V1,V2",
            help="A setting and its values, such as rank.depth=10,20,50; may be repeated.",
            show_default=False,
        ),
    ] = None,
    grid: Annotated[
        Path | None,
        typer.Option("--grid", help="The same as TOML: [rank] depth = [10, 20].", metavar="FILE", show_default=False),
    ] = None,
    metric: Annotated[
        str, typer.Option(help="What is weighed against time and cost, as STAGE:METRIC.")
    ] = "final:nDCG@10",
    split: Annotated[str | None, typer.Option(help="Which judgements.", show_default=False)] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The first so many questions.", show_default=False)] = None,
    collection: Annotated[
        str, typer.Option("--collection", "-c", help="A collection that exists; else the set's documents are indexed.")
    ] = "",
    answers: Annotated[bool, typer.Option("--answers", help="Ask for answers too; for metrics such as answer:f1.")] = (
        False
    ),
    jobs: Annotated[int, typer.Option(min=1, help="Points side by side; with 1, times are undisturbed.")] = 2,
    level: Annotated[float, typer.Option(min=0.0001, max=0.5, help="Of the test against the best point.")] = 0.05,
    machine_hour: Annotated[float, typer.Option(min=0.0, help="Price of an hour of the machine.")] = 1.0,
    prompt_tokens: Annotated[float, typer.Option(min=0.0, help="Price of a million tokens read.")] = 0.0,
    completion_tokens: Annotated[float, typer.Option(min=0.0, help="Price of a million tokens written.")] = 0.0,
    home: Home = None,
    config: Config = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Try every combination of some settings, each as `riddle eval run` in a process of its own.

    Ends in DIR/frontier.json and frontier.svg (quality against time and cost) and DIR/recommended.toml: the cheapest
    settings that are not significantly worse than the best, to be read with --config. The same command again goes on
    where it was stopped and tries anew what failed. Exit code 1 when a point failed; the others are still weighed.

    Example: riddle eval sweep --dataset beir/scifact --set rank.depth=10,20,50 --set recall.depth=50,100 --out sweep
    """
    from eval.frontier import Prices
    from services.sweeping import Asked, ChildRunner, interrupted_by_sigterm, read_grid

    asked = Asked(dataset, split, limit, collection, answers, home, config)
    axes = (read_grid(grid) if grid else {}) | _axes(sets or [])
    with interrupted_by_sigterm():
        found, failed, notes = carry_out_sweep(
            asked, axes, out, ChildRunner(asked, out), jobs, metric, level,
            Prices(machine_hour, prompt_tokens, completion_tokens),
        )  # fmt: skip
    if json:
        print_json({**found.as_json(), "failed": failed, "notes": notes})
    else:
        _print(found, failed, notes, out)
    raise typer.Exit(1 if failed else 0)


def carry_out_sweep(
    asked: Asked,
    axes: dict[str, list[str]],
    out: Path,
    runner: Runner,
    jobs: int,
    metric: str,
    level: float,
    prices: Prices,
) -> tuple[Frontier, dict[str, str], list[str]]:
    """The whole of it, whoever carries out the points: the frontier, what failed and why, and remarks."""
    from eval.frontier import frontier, measure
    from eval.sweep import carry_out, finished, grid
    from retrieval.durable import exclusive
    from services.sweeping import check, keep_asked, write_outcome

    points = grid(axes)
    check(points, asked)
    out.mkdir(parents=True, exist_ok=True)
    with exclusive(out / ".lock", f"another sweep is under way in {out}; wait for it, or name another folder"):
        keep_asked(out, asked)
        failed = {
            point.name: why for point, why in carry_out(points, out, runner, jobs, bool(asked.collection), _say).items()
        }
        done = [point for point in points if finished(out / point.name)]
        found = frontier([measure(point, out / point.name, metric, prices) for point in done], metric, level)
        return found, failed, write_outcome(out, found, asked, failed, jobs)


def _axes(sets: list[str]) -> dict[str, list[str]]:
    from eval.sweep import axes_of

    return axes_of(sets)


def _say(progress: Progress) -> None:
    left = ""
    if progress.left_s is not None:
        left = f", about {progress.left_s / 60:,.0f} min left" if progress.left_s > 90 else ", a minute or so left"
    failed = f", {progress.failed} failed" if progress.failed else ""
    note(f"{progress.done} of {progress.total} points{failed}, {len(progress.running)} running{left}: {progress.said}")


def _print(found: Frontier, failed: dict[str, str], notes: list[str], out: Path) -> None:
    say(f"{found.metric} over {found.queries} questions; cost of 1,000 of them")
    width = max(len(each.name) for each in found.rows)
    say(f"  {'':<{width}}  quality   behind   p      p50 ms   p95 ms     cost")
    for each in sorted(found.rows, key=lambda row: -row.quality):
        marks = ("*" if each.unbeaten else " ") + (">" if each.name == found.recommended else " ")
        p = "best  " if each.name == found.best else f"{each.p:.4f}"
        say(
            f"{marks}{each.name:<{width}}  {each.quality:.4f}  {each.behind:+.4f}  {p} "
            f"{each.p50_ms:8.1f} {each.p95_ms:8.1f} {each.cost:8.4g}"
        )
    for name, why in failed.items():
        say(f"FAILED {name}: {why}")
    say("\n* unbeaten: no other is as good in quality, time and cost, and better in one; > recommended")
    for remark in notes:
        say(f"note: {remark}")
    say(f"{out / 'recommended.toml'}: use it with --config")
