"""`riddle eval run`: asks a service all questions of a set, and writes what came of it into a run folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.commands.common import Config, Debug, Home, Json, load_all, note, print_json, say
from services.commands.eval import eval_of
from services.commands.search import ApiKey

if TYPE_CHECKING:
    from eval.datasets import Dataset
    from eval.evaluate import Outcome, RunSettings
    from eval.runs import RunFolder
    from eval.targets import SearchTarget
    from services.settings import Loaded

ELASTIC = "elasticsearch:"


DatasetName = Annotated[
    str,
    typer.Option("--dataset", help="A folder or file of questions (BEIR, TREC, SQuAD, JSONL), or ir-datasets:NAME."),
]
Split = Annotated[str | None, typer.Option(help="Which judgements: test, dev, train.", show_default=False)]
Limit = Annotated[int | None, typer.Option(min=1, help="Ask so many questions only.", show_default=False)]
Seed = Annotated[int, typer.Option(min=0, help="Draws the questions of --limit; 0 takes the first.")]
Out = Annotated[Path, typer.Option(help="The run folder; a run that was killed goes on in it.", metavar="RUN")]
Target = Annotated[
    str, typer.Option(help="What to measure: a server's address, or elasticsearch:URL/INDEX; else the home folder.")
]
Collection = Annotated[
    str, typer.Option("--collection", "-c", help="A collection that exists; else the set's documents are indexed.")
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A setting, such as rank.depth=50.", show_default=False),
]
Answers = Annotated[bool, typer.Option("--answers", help="Ask for answers too, and score them.")]
K = Annotated[int, typer.Option("-k", min=1, help="Passages asked for; 200 tells all stages apart.")]
Metrics = Annotated[
    str, typer.Option(help="Of ir_measures, by commas; the usual ones when left out.", show_default=False)
]
Jobs = Annotated[int, typer.Option(min=1, help="Questions asked at once; with 1, times are of a quiet service.")]
TargetKey = Annotated[str, typer.Option("--target-key", help="API key of Elasticsearch.", show_default=False)]


def register(app: typer.Typer) -> None:
    eval_of(app).command("run")(run)


def run(
    dataset: DatasetName,
    out: Out,
    split: Split = None,
    limit: Limit = None,
    seed: Seed = 0,
    target: Target = "",
    collection: Collection = "",
    sets: Sets = None,
    answers: Answers = False,
    k: K = 200,
    metrics: Metrics = "",
    jobs: Jobs = 1,
    target_key: TargetKey = "",
    key: ApiKey = "",
    home: Home = None,
    config: Config = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure searches, and answers, over a set of questions, stage by stage.

    Without --target and --collection the set's own documents are indexed in the home folder first; the next run over
    them finds the index there. A document's score is that of its best passage, and a question without an answer
    counts zero.

    Example: riddle eval run --dataset beir/scifact --limit 500 --set rank.depth=20 --out runs/scifact
    """
    from eval.datasets import fingerprint, open_dataset
    from eval.evaluate import DEFAULT_METRICS, RunSettings
    from eval.retrieval_metrics import known_metrics
    from eval.runs import RunFolder
    from services.evaluation import assigned

    loaded = load_all(home, config, assigned(sets or []))
    settings = RunSettings(k, known_metrics(metrics.split(",")) if metrics else DEFAULT_METRICS, jobs)
    questions = open_dataset(dataset, split, limit, seed)
    note(f"{questions.name}: {len(questions.questions):,} questions, judgements: {questions.split or 'the only ones'}")
    seconds: dict[str, float] = {}
    asked = {
        "depth": loaded.settings.rank.depth,
        "answers": answers,
        "limit": limit,
        "seed": seed,
        "set": sorted(sets or []),
    }
    with _target(
        target, collection, questions, loaded, settings, seconds, write=answers, key=key, target_key=target_key
    ) as measured:
        from services.evaluation import new_manifest

        manifest = new_manifest(out, questions, fingerprint(questions), measured.describe(), settings, asked)
        outcome = _carry_out(RunFolder(out), manifest, questions, measured, settings, seconds, answers)
    if json:
        print_json({"run": str(out), "metrics": outcome.metrics, "failures": outcome.manifest.failures})
    else:
        _print(outcome, out)


def _carry_out(
    folder: RunFolder,
    manifest: Any,
    questions: Dataset,
    target: SearchTarget,
    settings: RunSettings,
    seconds: Mapping[str, float],
    answers: bool,
) -> Outcome:
    from dataclasses import replace

    from eval.evaluate import Stopwatch, answer_all, begin, finish, score, score_answers, search_all
    from eval.targets import AnswerTarget
    from retrieval.errors import InvalidRequest
    from services.progress import Counted

    if answers and not isinstance(target, AnswerTarget):
        raise InvalidRequest("--answers: this target finds documents and does not answer")
    began = begin(folder, manifest, questions)
    watch = Stopwatch({**seconds, **began.seconds})
    failures = {}
    with Counted() as say_:
        failures["search"] = watch("search", lambda: search_all(folder, target, settings, say_))
        score(folder, settings)
        if answers and isinstance(target, AnswerTarget):
            failures["answer"] = watch("answer", lambda: answer_all(folder, target, settings, say_))
            score_answers(folder)
    return finish(folder, replace(began, seconds=watch.seconds), failures, settings)


@contextmanager
def _target(
    named: str,
    collection: str,
    questions: Dataset,
    loaded: Loaded,
    run_settings: RunSettings,
    seconds: dict[str, float],
    *,
    write: bool,
    key: str,
    target_key: str,
) -> Iterator[SearchTarget]:
    from services.targets.riddle import Asking, local_target, remote_target

    settings = loaded.settings
    depth, passages = settings.rank.depth, settings.answer.passages
    if named.startswith(ELASTIC):
        from services.targets.elastic import open_elastic

        with open_elastic(named, target_key, settings) as target:
            yield target
    elif named:
        asking = Asking(collection or settings.default_collection, depth, passages)
        with remote_target(named, key, asking) as target:
            yield target
    else:
        from services.evaluation import indexed, local_about
        from services.progress import shown

        if not collection:
            with shown(quiet=False) as show:
                found = indexed(questions, settings, show)
            collection, seconds["index"] = found.collection, found.seconds
            note(f"{'indexed' if found.built else 'indexed before:'} {found.documents:,} documents in {collection}")
        about = local_about(settings, loaded, collection)
        asking = Asking(collection, depth, passages)
        with local_target(settings, asking, write=write, at_once=run_settings.jobs, about=about) as target:
            yield target


def _print(outcome: Outcome, out: Path) -> None:
    for stage, values in outcome.metrics.items():
        say(f"{stage:<10}" + "  ".join(f"{name} {value:.4f}" for name, value in values.items()))
    spent = ", ".join(f"{part} {seconds:,.0f} s" for part, seconds in outcome.manifest.seconds.items())
    failed = sum(outcome.manifest.failures.values())
    for stage, count in outcome.manifest.degraded.items():
        note(f"{count:,} searches went without {stage}, and the figures are of such; `riddle doctor` may say why")
    say(f"\n{out}: {outcome.manifest.dataset['queries']:,} questions, {failed} failed; {spent}")
