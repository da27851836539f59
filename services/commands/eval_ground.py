"""`riddle eval ground`: whether passages support statements, by the local grounding model; and how good it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.commands.common import Config, Debug, Home, Json, load_settings, print_json, say
from services.commands.eval import eval_of

if TYPE_CHECKING:
    from eval.grounding import Grounder, Verdict
    from eval.grounding_measure import SetFigures

_MODEL = "riddle-grounding"


def register(app: typer.Typer) -> None:
    eval_of(app).command("ground")(ground)


def ground(
    statement: Annotated[str, typer.Option(help="One statement to check.", show_default=False)] = "",
    passage: Annotated[
        list[str] | None, typer.Option(help="What it should rest on; may be repeated.", show_default=False)
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            help='JSONL to check: {"statement": …, "passages": ["…"]} a line.', metavar="FILE", show_default=False
        ),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(help="Check each statement of a run's answers.", metavar="RUN", show_default=False),
    ] = None,
    dataset_root: Annotated[
        Path | None,
        typer.Option(
            help="Measure the model instead: a folder with scifact, squad, cmrc2018 and drcd.",
            metavar="DIR",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=30, help="Pairs of each set to measure on; of scifact all.")] = 600,
    seed: Annotated[int, typer.Option(help="Draws the pairs.")] = 1,
    model: Annotated[str, typer.Option(help="A grounding model: its name or folder.")] = _MODEL,
    home: Home = None,
    config: Config = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Say of statements whether passages support them, contradict them, or do not say it; English and Chinese.

    With --dataset-root the model is measured on the parts of four sets that it was not trained on.

    Example: riddle eval ground --statement "The Louvre opened in 1793." --passage "It opened on 10 August 1793."
    """
    from eval.grounding import judge, open_grounder
    from services.models import pull

    asked = _asked(statement, passage or [], file, [each for each in (run, dataset_root) if each is not None])
    settings = load_settings(home, config)
    grounder = open_grounder(pull(model, settings.home), threads=0)
    if dataset_root is not None:
        _measure(grounder, dataset_root, limit, seed, json=json)
        return
    if run is not None:
        _check_run(grounder, run, json=json)
        return
    verdicts = judge(grounder, asked)
    if json:
        print_json({"model": grounder.name, "verdicts": [_said(each) for each in verdicts]})
        return
    for each in verdicts:
        say(f"{each.label:<12} {each.supported:6.3f} {each.contradicted:6.3f} {each.absent:6.3f}  {each.statement}")


def _asked(statement: str, passages: list[str], file: Path | None, folders: list[Path]) -> list[tuple[str, list[str]]]:
    """What to check; empty when a folder is named. Exits with 2 when not exactly one thing is asked for."""
    if (bool(statement) or bool(passages)) + (file is not None) + len(folders) != 1:
        raise typer.BadParameter("name one of --statement with --passage, --file, --run, --dataset-root")
    if file is not None:
        return _read(file)
    if not folders and not (statement and passages):
        raise typer.BadParameter("--statement and --passage belong together")
    return [] if folders else [(statement, passages)]


def _check_run(grounder: Grounder, path: Path, *, json: bool) -> None:
    from eval.grounding import grounded_answers
    from eval.runs import RunFolder

    folder = RunFolder(path)
    folder.manifest()
    for query_id, found in grounded_answers(folder.answers(), grounder):
        if json:
            verdicts = [_said(each) for each in found.verdicts]
            print_json({"query_id": query_id, "faithfulness": found.faithfulness, "verdicts": verdicts})
            continue
        say(f"{query_id}  faithfulness {found.faithfulness:.2f}")
        for each in found.verdicts:
            say(f"  {each.label:<12} {each.supported:6.3f}  {each.statement}")


def _read(path: Path) -> list[tuple[str, list[str]]]:
    """The statements of a file. Raises InvalidRequest, which names the line that is none."""
    from json import loads

    from retrieval.errors import InvalidRequest

    found = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path} cannot be read: {error}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            said: Any = loads(line)
            passages = said["passages"] if "passages" in said else [said["passage"]]
            statement = said["statement"]
        except (ValueError, KeyError, TypeError):
            statement, passages = None, None
        if (
            not isinstance(statement, str)
            or not isinstance(passages, list)
            or not all(isinstance(each, str) for each in passages)
        ):
            raise InvalidRequest(f'{path}, line {number}: no {{"statement": "…", "passages": ["…"]}}')
        found.append((statement, passages))
    return found


def _said(verdict: Verdict) -> dict[str, Any]:
    return {
        "statement": verdict.statement,
        "verdict": verdict.label,
        "supported": round(verdict.supported, 4),
        "contradicted": round(verdict.contradicted, 4),
        "absent": round(verdict.absent, 4),
        "passage": verdict.passage,
    }


def _measure(grounder: Grounder, root: Path, limit: int, seed: int, *, json: bool) -> None:
    from dataclasses import asdict

    from eval.grounding_measure import held_apart, measure, milliseconds

    sets = held_apart(root, limit, seed)
    found = measure(grounder, sets)
    taken = milliseconds(grounder, [pair for pairs in sets.values() for pair in pairs])
    if json:
        print_json(
            {"model": grounder.name, "ms_a_statement": round(taken, 2), "sets": [asdict(each) for each in found]}
        )
        return
    say("held-apart sets: balanced accuracy of supported against the rest (2-way) and against contradicted alone,")
    say("mean recall of the three verdicts (3-way), and each recall")
    say(f"{'set':<10}{'pairs':>6}{'2-way':>8}{'contra':>8}{'3-way':>8}{'supp.':>8}{'contr.':>8}{'absent':>8}")
    for each in found:
        say(f"{each.name:<10}{each.pairs:>6}" + "".join(f"{value:8.3f}" for value in _row(each)))
    say("")
    say("share judged rightly (supported or not), by how the pair came about")
    for each in found:
        for kind, (pairs, share) in each.by_kind.items():
            say(f"{each.name:<10}{kind:<26}{pairs:>6}{share:8.3f}")
    say("")
    say(f"{taken:.1f} ms a statement (median, one at a time)")


def _row(found: SetFigures) -> list[float]:
    return [found.two_way, found.against_contradicted, found.three_way, *found.recalls]
