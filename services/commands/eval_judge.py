"""`riddle eval judge` and `riddle eval calibrate`: what a judge makes of a run's answers, and whether to believe it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.commands.common import Config, Debug, Home, Json, fail, load_settings, print_json, say
from services.commands.eval import eval_of

if TYPE_CHECKING:
    from eval.judge import JudgeSettings
    from eval.judge_calibration import Calibration
    from eval.runs import RunFolder

JudgeUrl = Annotated[
    str, typer.Option("--judge-url", help="An OpenAI-compatible server, up to and with /v1.", metavar="URL")
]
JudgeModel = Annotated[str, typer.Option("--judge-model", help="The model to ask; else the first that it lists.")]
JudgeKey = Annotated[
    str,
    typer.Option(
        "--judge-key",
        envvar="RIDDLE_JUDGE_KEY",
        show_envvar=False,
        show_default=False,
        help="The judge's API key (RIDDLE_JUDGE_KEY).",
    ),
]
Grounding = Annotated[bool, typer.Option("--grounding", help="Ask the local grounding model instead of a server.")]
Temperature = Annotated[float, typer.Option(min=0, help="How freely the judge words itself.")]
MaxTokens = Annotated[int, typer.Option(min=1, help="Tokens that one reply may have; a longer one is a failure.")]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds to wait for one reply.")]
AtOnce = Annotated[int, typer.Option("--concurrency", min=1, help="Judgements asked for at once.")]
Form = Annotated[
    str, typer.Option("--form", help="What holds replies to JSON: schema, json, or text (the prompt alone).")
]


def register(app: typer.Typer) -> None:
    group = eval_of(app)
    group.command("judge")(judge)
    group.command("calibrate")(calibrate)


def calibrate(
    judge_url: JudgeUrl = "",
    judge_model: JudgeModel = "",
    grounding: Grounding = False,
    dataset_root: Annotated[
        Path,
        typer.Option(
            envvar="RIDDLE_DATA",
            show_envvar=False,
            help="Holds scifact, squad, cmrc2018 and drcd (RIDDLE_DATA).",
            metavar="DIR",
        ),
    ] = Path("../shared/data"),
    n: Annotated[int, typer.Option("--n", min=8, help="How many statements, half of them English.")] = 100,
    out: Annotated[Path, typer.Option(help="Where to write what came of it.", metavar="FILE")] = Path(
        "calibration.json"
    ),
    temperature: Temperature = 0.0,
    max_tokens: MaxTokens = 1024,
    timeout: Timeout = 120.0,
    concurrency: AtOnce = 8,
    form: Form = "schema",
    judge_key: JudgeKey = "",
    home: Home = None,
    config: Config = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Try a judge on statements whose support is known, before anything that it says is believed.

    They are SciFact's claims with their evidence, and answers of SQuAD, CMRC 2018 and DRCD made into statements, half
    of them contradicted: most by a planted error. A judgement that fails is wrong. Below a balanced accuracy of 0.7 in
    a language the judge is unfit for it: its figures are shown, and gate nothing. Address and sampling are part of the
    judge: give `riddle eval judge` the same.

    Example: riddle eval calibrate --judge-url http://127.0.0.1:8000/v1 --n 200 --out calibration.json
    """
    from eval.judge_calibration import calibration, known_cases, write_calibration
    from services.judging import ask_cases, ground_cases
    from services.progress import Counted

    settings = load_settings(home, config)
    if grounding:
        name, told = ground_cases(known_cases(dataset_root, n), settings)
    else:
        asked = _asked(judge_url, judge_model, judge_key, form, temperature, max_tokens, timeout, concurrency)
        with Counted(quiet=json) as show:
            name, told = asyncio.run(ask_cases(asked, known_cases(dataset_root, n), show))
    found = calibration(name, told)
    write_calibration(out, found)
    if json:
        from dataclasses import asdict

        print_json(asdict(found))
    else:
        _print_calibration(found, out)


def judge(
    run: Annotated[Path, typer.Argument(help="A run with answers, of `riddle eval run --answers`.", metavar="RUN")],
    judge_url: JudgeUrl = "",
    judge_model: JudgeModel = "",
    grounding: Grounding = False,
    metrics: Annotated[str, typer.Option(help="RAGAS' metrics by commas; else all of them.", show_default=False)] = "",
    calibration: Annotated[
        list[Path] | None,
        typer.Option(help="What `riddle eval calibrate` wrote of a judge; may be repeated.", metavar="FILE"),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Judge the first so many answers only.", show_default=False)
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="How often each judgement is made; tells the spread.")] = 1,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Make failed judgements anew.")] = False,
    most_failed: Annotated[
        float, typer.Option(min=0, max=1, help="The share of failed judgements above which the exit code is 1.")
    ] = 0.2,
    encoder: Annotated[str, typer.Option(help="Compares questions for answer relevancy; else models.encoder.")] = "",
    temperature: Temperature = 0.0,
    max_tokens: MaxTokens = 1024,
    timeout: Timeout = 120.0,
    concurrency: AtOnce = 8,
    form: Form = "schema",
    judge_key: JudgeKey = "",
    home: Home = None,
    config: Config = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Judge the answers of a run: by RAGAS and a model that a server holds, by the grounding model, or without either.

    What needs no judge is always computed. Judgements that the run holds already are not made again, so that a killed
    command goes on where it was. RAGAS': faithfulness, answer_relevancy, context_precision, context_recall,
    factual_correctness, context_relevance. The grounding model's: groundedness, citation_recall, citation_precision.
    The RAG triad is named from these. A judge without a calibration, or with a bad one, is marked, and gates nothing.

    Example: riddle eval judge runs/today --judge-url http://127.0.0.1:8000/v1 --calibration calibration.json
    """
    from eval.judge_calibration import read_calibration
    from eval.judged_run import write_judged
    from eval.runs import RunFolder
    from services.judging import Wanted, ground_run, judge_run
    from services.progress import Counted

    settings, folder = load_settings(home, config), _answered(RunFolder(run))
    calibrations = [read_calibration(path) for path in calibration or ()]
    name = ""
    with Counted(quiet=json) as show:
        if grounding:
            ground_run(folder, settings, limit, show)
        if judge_url:
            asked = _asked(
                judge_url, judge_model, judge_key, form, temperature, max_tokens, timeout, concurrency, repeats
            )
            named = tuple(each.strip() for each in metrics.split(",") if each.strip())
            wanted = Wanted(named, limit, retry_failed, encoder)
            name = asyncio.run(judge_run(folder, asked, wanted, settings, show))
    _tell(folder, write_judged(folder, calibrations), json=json)
    _refuse_failures(folder, name, most_failed)


def _asked(
    url: str,
    model: str,
    key: str,
    form: str,
    temperature: float,
    max_tokens: int,
    timeout_s: float,
    concurrency: int,
    repeats: int = 1,
) -> JudgeSettings:
    from eval.judge import JudgeSettings, form_named
    from retrieval.errors import InvalidRequest

    if not url:
        raise InvalidRequest("name the judge: --judge-url http://127.0.0.1:8000/v1, or --grounding")
    return JudgeSettings(
        url, model, key, temperature, timeout_s, max_tokens, repeats, concurrency, form=form_named(form)
    )


def _answered(folder: RunFolder) -> RunFolder:
    """The run, once it is certain that it is one and has answers. Raises InvalidRequest."""
    from eval.judged_run import languages_of

    folder.manifest()
    languages_of(folder)
    return folder


def _tell(folder: RunFolder, judges: Mapping[str, Any], *, json: bool) -> None:
    from eval.evaluate import ANSWER
    from eval.judged_run import triad
    from eval.runs import METRICS, TIMINGS

    metrics: Mapping[str, float] = (folder.json(METRICS) or {}).get(ANSWER, {})
    named = {name: {"metric": metric, "value": value} for name, (metric, value) in triad(metrics).items()}
    if json:
        print_json({"run": str(folder.path), "metrics": metrics, "triad": named, "judges": judges})
        return
    doubtful = {metric: entry for entry in judges.values() if entry["fit"] is not True for metric in entry["metrics"]}
    for metric, value in sorted(metrics.items()):
        say(f"{metric:<26}{value:7.4f}" + (f"   {_standing(doubtful[metric])} judge" if metric in doubtful else ""))
    timings: Mapping[str, Mapping[str, float]] = folder.json(TIMINGS) or {}
    for words, stage in (("first token", f"{ANSWER}.client_first"), ("whole answer", f"{ANSWER}.client")):
        if stage in timings:
            say(f"{words:<26}p50 {timings[stage]['p50']:,.0f} ms   p95 {timings[stage]['p95']:,.0f} ms")
    for name, each in named.items():
        say(f"RAG triad, {name.replace('_', ' ')}: {each['value']:.4f} ({each['metric']})")
    for name, entry in judges.items():
        say(f"\n{name}: {_standing(entry)}{_accuracy(entry)}")
        for metric, figures in entry["judged"].items():
            say(f"  {metric:<24}{_figures(figures)}")


def _standing(entry: Mapping[str, Any]) -> str:
    return {True: "fit", False: "UNFIT", None: "NOT CALIBRATED"}[entry["fit"]]


def _accuracy(entry: Mapping[str, Any]) -> str:
    found = entry["balanced_accuracy"]
    return "" if found is None else f", balanced accuracy {found:.3f}"


def _figures(found: Mapping[str, Any]) -> str:
    if found["value"] is None:
        value = "no judgement came"
    elif found["failed"]:
        value = f"{found['value']:.4f}, from {found['low']:.4f} to {found['high']:.4f} by what the failed ones were"
    else:
        value = f"{found['value']:.4f}"
    spread = "" if found["spread"] is None else f"; repeats differ by {found['spread']:.4f} (standard deviation)"
    kinds = ", ".join(f"{n} {kind}" for kind, n in found["errors"].items())
    return f"{value}{spread}; {found['n']} judgements, {found['failed']} failed" + (f" ({kinds})" if kinds else "")


def _refuse_failures(folder: RunFolder, judge: str, most: float) -> None:
    """Ends with exit code 1 when too great a share of the judge's judgements failed: its means say little then."""
    made = [each for each in folder.judgements() if each.judge == judge]
    failed = sum(each.value is None for each in made)
    if failed > most * len(made):
        fail(
            f"{failed} of {len(made)} judgements failed, more than {most:.0%} (--most-failed); what came is in "
            f"{folder.path}; --retry-failed makes them anew"
        )


def _print_calibration(found: Calibration, out: Path) -> None:
    say(f"{found.judge}: {'fit' if found.fit else 'UNFIT'}\n")
    for name, each in (("all", found.figures), *found.by_language.items()):
        kinds = ", ".join(f"{n} {kind}" for kind, n in each.errors.items())
        say(
            f"{name:<5}balanced accuracy {each.balanced_accuracy:.3f} ({each.low:.3f} to {each.high:.3f})   "
            f"supported {each.sensitivity:.3f}   not supported {each.specificity:.3f}   "
            f"{each.n} statements, {each.failed} failed" + (f" ({kinds})" if kinds else "")
        )
    say()
    for source, (right, of) in found.right_by_source.items():
        say(f"{source:<24}{right} of {of}")
    say(f"\n{out}")
