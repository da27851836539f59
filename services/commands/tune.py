"""`riddle tune`: learns how far to trust each stage on one collection, and adopts it only when that is proven."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from services.commands.common import Config, Debug, Home, Json, load_settings, note, print_json, say

if TYPE_CHECKING:
    from services.tuning import Tuning


def register(app: typer.Typer) -> None:
    app.command("tune")(tune)


def tune(
    collection: Annotated[str, typer.Argument(help="The collection whose ranking is to be learned.")],
    judgements: Annotated[
        str, typer.Option(help="Judged questions, as `riddle eval run` takes them; else the clicks of its users.")
    ] = "",
    split: Annotated[str | None, typer.Option(help="Which judgements: test, dev, train.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most questions that are asked.")] = 300,
    depth: Annotated[int, typer.Option(min=1, max=200, help="Passages that the reranker reads of each.")] = 100,
    itself: Annotated[
        bool, typer.Option("--itself", help="Ask the collection about itself, whatever else is known.")
    ] = False,
    items: Annotated[int, typer.Option(min=1, help="Questions that the collection is asked about itself.")] = 60,
    level: Annotated[float, typer.Option(min=0.0001, max=0.5, help="Of the test that a gain must pass.")] = 0.05,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Decide, and write nothing.")] = False,
    reset: Annotated[bool, typer.Option("--reset", help="Go back to the defaults, and ask nothing.")] = False,
    home: Home = None,
    config: Config = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Learn how far to trust each stage on a collection, from judgements or from clicks.

    What was learned on one half of the questions is measured on the other; only a gain beyond chance is adopted, into
    HOME/ranking/COLLECTION.json, and searches follow it at once. With neither, sentences of the collection are asked
    of it: they show which channel finds most, and change nothing. Exit code 0 when a decision was reached, also when it
    is to leave all as it is.

    Example: riddle tune docs --judgements judged.jsonl
    """
    from services.progress import Counted
    from services.tuning import gather, own_name, questions_of, weigh
    from services.tuning import reset as go_back

    settings = load_settings(home, config)
    name = own_name(settings, collection)
    if reset:
        changed = go_back(settings, name)
        if json:
            print_json({"collection": name, "reset": changed})
        else:
            say(f"{name}: back to the defaults" if changed else f"{name}: the defaults were in force already")
        return
    questions = None if itself else questions_of(settings, name, judgements, split, limit)
    if questions is None and not itself:
        note("no judgements and no clicks: asking the collection about itself")
    with Counted(quiet=json) as progress:
        evidence = gather(settings, name, questions, "judgements" if judgements else "clicks", items, depth, progress)
    tuned = weigh(settings, name, evidence, level, write=not dry_run)
    if json:
        print_json(tuned.as_json())
    else:
        _print(tuned, dry_run=dry_run)
    if tuned.file and settings.rank.order != "blend":
        note(f"rank.order is {settings.rank.order!r}, so that searches do not follow it: set it to 'blend'")


def _print(tuned: Tuning, *, dry_run: bool) -> None:
    verdict = tuned.verdict
    say(f"{tuned.collection}: {verdict.queries} questions with an answer, from {tuned.evidence.source}")
    for stage, count in tuned.evidence.degraded.items():
        note(f"{count} searches went without {stage}; `riddle doctor` may say why")
    width = max(len(each.name) for each in verdict.trials)
    say(f"  {'':<{width}}  {verdict.metric}    gain   95 % interval      p")
    for each in verdict.trials:
        against = "" if each.name == "default" else (
            f"  {each.gain:+.3f}  {each.low:+.3f} to {each.high:+.3f}  {each.p:.4f}"
        )  # fmt: skip
        say(f"  {each.name:<{width}}  {each.value:.4f}{against}")
    if not verdict.adopted:
        say(f"kept as it is: {verdict.reason}")
        if verdict.needed and verdict.needed > verdict.queries:
            say(f"to see a gain of this kind takes about {verdict.needed:,} judged questions")
        return
    say(f"{verdict.adopted}: {verdict.reason}")
    say("  " + ", ".join(f"{stage} {weight:.2f}" for stage, weight in verdict.blend.weights.items()))
    say("nothing was written (--dry-run)" if dry_run else f"in force: {tuned.file}")
