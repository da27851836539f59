"""`riddle eval load`: requests to a running server at a fixed rate, and how long each took from when it was due."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from services.commands.common import Debug, Json, note, print_json, say
from services.commands.eval import eval_of
from services.commands.search import ApiKey

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from eval.load_report import LoadReport, RateResult, Times
    from eval.load_run import LoadSettings


Queries = Annotated[
    Path | None,
    typer.Option(help="One query a line, or JSONL rows with `text` or `query`.", metavar="FILE", show_default=False),
]
QuestionSet = Annotated[
    str, typer.Option(help="Or the questions of a set: what `riddle eval run --dataset` takes.", metavar="DIR")
]
Rate = Annotated[float, typer.Option(min=0.05, max=20_000, help="Requests a second; with --find, the first.")]
Answers = Annotated[bool, typer.Option("--answers", help="Ask for answers, and take the time to their first words.")]
Cold = Annotated[bool, typer.Option("--cold/--warm", help="Requests that no cache holds; or each sent once before.")]
Arrivals = Annotated[Literal["constant", "poisson"], typer.Option(help="At equal distances, or by chance.")]
InFlight = Annotated[int, typer.Option(min=1, help="Requests under way at once; one more counts as failed.")]
Out = Annotated[
    Path | None,
    typer.Option(help="A new run folder for manifest.json and load.json.", metavar="RUN", show_default=False),
]


def register(app: typer.Typer) -> None:
    eval_of(app).command("load")(load)


def load(
    url: Annotated[str, typer.Option(help="The server: http://127.0.0.1:8080.")],
    collection: Annotated[str, typer.Option("--collection", "-c", help="Which collection is asked.")],
    queries: Queries = None,
    dataset: QuestionSet = "",
    rate: Rate = 10,
    seconds: Annotated[float, typer.Option(min=1, help="For how long, at least, each rate is measured.")] = 30,
    warmup: Annotated[float, typer.Option(min=0, help="Seconds at each rate before, which count nowhere.")] = 2,
    k: Annotated[int, typer.Option("-k", min=1, help="Passages asked for.")] = 10,
    answers: Answers = False,
    cold: Cold = True,
    arrivals: Arrivals = "constant",
    find: Annotated[bool, typer.Option("--find", help="Look for the highest rate that keeps --p99.")] = False,
    p99: Annotated[float, typer.Option(min=0.1, help="Milliseconds that 99 % of the requests must keep.")] = 200,
    patience: Annotated[float, typer.Option(min=0.1, help="Seconds after which a request counts as failed.")] = 30,
    in_flight: InFlight = 2000,
    seed: Annotated[int, typer.Option(help="Of arrivals by chance.")] = 0,
    out: Out = None,
    key: ApiKey = "",
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Put a running server under load that does not wait for it: latencies, errors, stages, and what rate it bears.

    Requests leave at fixed moments whatever became of those before, and a request's time counts from its moment, so
    that a stall is charged to all that it kept waiting. With --find the rate is doubled until one request in a hundred
    is later than --p99 or fails, then the gap is halved down to a tenth.

    Example: riddle eval load --url http://127.0.0.1:8080 -c docs --queries queries.txt --rate 20 --find --p99 200
    """
    import secrets

    from eval.load import RRF_KS, Patience
    from eval.load_report import Bound
    from eval.load_run import LoadSettings
    from eval.runs import MANIFEST
    from retrieval.errors import InvalidRequest

    if out is not None and (out / MANIFEST).exists():
        raise InvalidRequest(f"{out} holds a run already; name a folder for a new one")
    texts = _queries(queries, dataset)
    settings = LoadSettings(
        rate, seconds, warmup, k, cold, answers, arrivals, seed,
        bound=Bound(p99) if find else None, patience=Patience(patience, in_flight),
        first_round=secrets.randbelow(RRF_KS),
    )  # fmt: skip
    report, target = asyncio.run(_carried_out(url, collection, key, texts, settings))
    if out is not None:
        _write(out, report, target, {"name": dataset or str(queries), "queries": len(texts)}, settings)
    if json:
        print_json({"target": target, **dataclasses.asdict(report)})
    else:
        _print(report)


def _queries(file: Path | None, dataset: str) -> list[str]:
    """Raises InvalidRequest unless exactly one of the two is named, and holds queries."""
    import json

    from eval.datasets import open_dataset
    from retrieval.errors import InvalidRequest

    if (file is None) == (not dataset):
        raise InvalidRequest("say what to ask: --queries FILE or --dataset DIR, one of the two")
    if file is None:
        return [question.text for question in open_dataset(dataset).questions.values()]
    found = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if file.suffix == ".jsonl" and line.strip():
            try:
                row = json.loads(line)
                found.append(str(row["text"] if "text" in row else row["query"]))
            except (ValueError, KeyError, TypeError) as error:
                raise InvalidRequest(f"{file} line {number}: wants an object with `text` or `query`") from error
        elif line.strip():
            found.append(line.strip())
    if not found:
        raise InvalidRequest(f"{file} holds no query")
    return found


async def _carried_out(
    url: str, collection: str, key: str, texts: Sequence[str], settings: LoadSettings
) -> tuple[LoadReport, Mapping[str, Any]]:
    from eval.load_run import run_load
    from services.asking import RemoteAsker
    from services.load_client import HTTPSender, load_client

    async with load_client(url, key) as http:
        about = await RemoteAsker(http).collection(collection)
        target = {
            "kind": "riddle",
            "url": url,
            "collection": about.name,
            "generation": about.generation,
            "encoder": about.encoder,
            "documents": about.documents,
            "passages": about.passages,
        }
        sender = HTTPSender(http, collection, answers=settings.answers)
        return await run_load(sender, texts, settings, lambda result: note(_line(result))), target


def _write(
    out: Path, report: LoadReport, target: Mapping[str, Any], dataset: Mapping[str, Any], settings: LoadSettings
) -> None:
    from datetime import UTC, datetime
    from importlib.metadata import version

    from eval.runs import LOAD, TIMINGS, Manifest, RunFolder
    from services.commands.bench import machine
    from services.evaluation import commit_of

    folder = RunFolder(out)
    manifest = Manifest(
        id=folder.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        target=target,
        dataset=dataset,
        settings={"load": dataclasses.asdict(settings)},
        machine=machine(),
        commit=commit_of(Path(__file__).parent),
        version=version("riddle-search"),
        finished=True,
        seconds={"load": sum(each.seconds for each in report.rates)},
        failures={"load": sum(each.failed for each in report.rates)},
    )
    folder.write_manifest(manifest)
    folder.write_json(LOAD, dataclasses.asdict(report))
    held = [each for each in report.rates if report.holds is None or each.rate == report.holds]
    if held:
        folder.write_json(TIMINGS, {**held[-1].stages_ms, "client": held[-1].latency_ms})


def _line(result: RateResult) -> str:
    told = f"{result.rate:8.1f} a second for {result.seconds:5.0f} s: {_shown(result.latency_ms)}"
    if result.failed:
        told += f"   {result.failed:,} of {result.requests:,} failed"
    if result.verdict is not None:
        told += "   holds" if result.verdict.holds else "   too high"
        told += "" if result.verdict.sure else " (not sure)"
    return told


def _shown(times: Times) -> str:
    return "   ".join(f"{name} {times[name]:8.1f} ms" for name in ("p50", "p95", "p99", "max") if name in times)


def _print(report: LoadReport) -> None:
    what = "answers" if report.answers else "searches"
    cache = "cold" if report.cold else f"warm, {report.primed:,} requests before"
    for each in report.rates[-1:] if report.bound is None else []:
        say(f"{each.requests:,} {what} at {each.rate:g} a second, {report.arrivals} arrivals, cache {cache}")
        say(f"({each.warmup:,} more before, to warm up, are not counted)\n")
        _print_one(each)
    if report.bound is not None:
        bound = f"{report.bound.share:.0%} within {report.bound.ms:g} ms"
        say(f"{what}, {report.arrivals} arrivals, cache {cache}: {bound}")
        for name, rate in (("holds", report.holds), ("too high", report.fails)):
            say(f"{name:<10}" + ("none that was tried" if rate is None else f"{rate:.1f} a second"))
        sure = "both verdicts have" if report.sure else "not both verdicts have"
        say(f"{sure} a confidence of {report.bound.confidence:.0%}, were requests independent")
        _print_one(next((each for each in reversed(report.rates) if each.rate == report.holds), None))
    for each_note in report.notes:
        say(f"note: {each_note}")


def _print_one(result: RateResult | None) -> None:
    if result is None:
        return
    rows = {"latency": result.latency_ms, "first words": result.first_ms, **result.stages_ms}
    for name, found in rows.items():
        if found:
            say(f"{name:<14}{_shown(found)}")
    say(f"answered      {result.throughput:.1f} a second; {result.in_flight:,} under way at the end")
    if result.hits is not None:
        say(f"cache hits    {result.hits:.1%}")
    for kind, count in {**result.errors, **{f"without {stage}": n for stage, n in result.degraded.items()}}.items():
        say(f"{kind:<30} {count:,}")
