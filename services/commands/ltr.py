"""`riddle ltr train`, `show` and `drop`: learned rankers made from judgements or clicks, and which are in use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.commands.common import Config, Debug, Home, Json, load_settings, note, print_json, say
from services.progress import Counted

if TYPE_CHECKING:
    from eval.ltr_trial import Trial

Collection = Annotated[str, typer.Argument(help="The collection whose order is learned.")]
DatasetName = Annotated[
    str, typer.Option("--dataset", help="Judged questions, as `riddle eval run` takes them; each is searched.")
]
RunFolder = Annotated[
    Path | None,
    typer.Option(
        "--run", help="Instead: a run folder of `riddle eval run`, whose stages are read.", show_default=False
    ),
]
Clicks = Annotated[bool, typer.Option("--clicks", help="Instead: the clicks of the query log.")]
Split = Annotated[str | None, typer.Option(help="Which judgements of the set.", show_default=False)]
Limit = Annotated[int | None, typer.Option(min=1, help="So many questions only.", show_default=False)]
Seed = Annotated[int, typer.Option(min=0, help="Draws the questions of --limit; 0 takes the first.")]
Fields = Annotated[
    str,
    typer.Option(
        help="Metadata that counts, such as 'stars:log, updated:age'; rank.fields unless named.", show_default=False
    ),
]
Without = Annotated[
    list[str] | None,
    typer.Option(
        "--without",
        metavar="STAGE",
        help="A stage that the trees may not look at; rerank unless named, for it comes after them.",
        show_default=False,
    ),
]
Against = Annotated[str, typer.Option(help="The stage whose order is to be beaten.")]
Level = Annotated[float, typer.Option(min=0.0001, max=0.5, help="How often no gain at all may be taken for one.")]
Out = Annotated[
    Path | None,
    typer.Option(help="Write the model there, and leave the collection as it is.", metavar="FILE", show_default=False),
]

COLUMNS_SHOWN = 12


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Learn to rank from judgements or clicks.")
    group.callback()(_root)
    for command in (train, show, drop):
        group.command()(command)
    app.add_typer(group, name="ltr")


def ltr_of(app: typer.Typer) -> typer.Typer:
    """The group that `ltr_log` adds its commands to; this module is registered before it."""
    return next(group.typer_instance for group in app.registered_groups if group.name == "ltr" and group.typer_instance)


def _root() -> None:
    """Learn to rank from judgements or clicks, and look after the models.

    Example: riddle ltr train docs --dataset judged/docs
    """


def train(
    collection: Collection,
    dataset: DatasetName = "",
    run: RunFolder = None,
    clicks: Clicks = False,
    split: Split = None,
    limit: Limit = None,
    seed: Seed = 0,
    fields: Fields = "",
    without: Without = None,
    against: Against = "fused",
    level: Level = 0.05,
    out: Out = None,
    home: Home = None,
    config: Config = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Train trees that order a collection's candidates, and take them into use if they are better.

    Half of the queries judge trees grown on the other half, and the other way round. The model is adopted when
    nDCG@10 rises in both halves, and by more than chance. Clicks are weighed by how rarely their place is looked at,
    which the log itself tells. Some hundred queries are a start.

    Example: riddle ltr train docs --dataset judged/docs
    """
    from eval.ltr_trial import learned, trial
    from ranking.features import columns_without
    from ranking.ltr import LtrShelf
    from services.learning import Wanted, gathered, origin

    settings = load_settings(home, config)
    wanted = Wanted(collection, dataset, run, clicks, split, limit, seed, fields or settings.rank.fields_text)
    with Counted(quiet=json) as counted:
        material = gathered(settings, wanted, lambda done, total: counted("search", done, total, 0))
    for line in material.notes:
        note(line)
    columns = columns_without(material.columns, ["rerank"] if without is None else without)
    found = trial(material.lists, material.features, columns, against=against, level=level)
    named = ""
    if found.adopted or out is not None:
        card = origin(collection, material.generation, material.about)
        file = learned(material.lists, material.features, columns, found, card)
        named = file.hash
        if out is not None:
            file.write(out)
        else:
            LtrShelf(settings.home).adopt(collection, file)
    if json:
        print_json({"collection": collection, "source": dict(material.about), **found.as_json(), "model": named})
        return
    for line in (*_trial_lines(found), _outcome(found, collection, named, out)):
        say(line)


def show(
    model: Annotated[str, typer.Argument(help="A model's hash; all that are in use when left out.")] = "",
    home: Home = None,
    config: Config = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Say which collections have a learned ranker, or what one was trained on and looks at.

    Example: riddle ltr show 3fa9c1d2e4b5
    """
    from ranking.ltr import LtrShelf

    shelf = LtrShelf(load_settings(home, config).home)
    if model:
        file = shelf.file(model)
        card = {"hash": file.hash, "features": file.features, "columns": list(file.columns), **file.card}
        if json:
            print_json(card)
            return
        for line in _card_lines(card):
            say(line)
        return
    adopted = shelf.adopted()
    if json:
        print_json({"adopted": dict(adopted), "kept": shelf.hashes()})
        return
    for collection, named in adopted.items():
        say(f"{collection:<30}  {named}  {shelf.file(named).card.get('created', '')}")
    kept = len(set(shelf.hashes()) - set(adopted.values()))
    say(
        f"{len(adopted)} collections have a learned ranker"
        + (f"; {kept} older ones are kept for replay" if kept else "")
    )


def drop(collection: Collection, home: Home = None, config: Config = None, debug: Debug = False) -> None:
    """Rank a collection without its learned ranker again; the model's file stays, for replay.

    Example: riddle ltr drop docs
    """
    from ranking.ltr import LtrShelf

    named = LtrShelf(load_settings(home, config).home).drop(collection)
    say(f"{collection} is ranked without the model {named} from now on")


def _outcome(found: Trial, collection: str, named: str, out: Path | None) -> str:
    if out is not None:
        return f"{out}: the model {named}; {collection} is ranked as before"
    if found.adopted:
        return f"adopted: {collection} is ranked by the model {named} from now on"
    return f"not adopted, {collection} is ranked as before: {found.reason}"


def _trial_lines(found: Trial) -> Iterator[str]:
    """The trial for people."""
    yield f"nDCG@10 of {found.queries:,} queries, each under trees that had not seen it:"
    for stage, value in found.others.items():
        yield f"  {stage:<10} {value:.4f}"
    yield f"  {found.against:<10} {found.before:.4f}"
    yield f"  {'trees':<10} {found.after:.4f}"
    yield (
        f"gain over {found.against} {found.gain:+.4f} ({found.low:+.4f} to {found.high:+.4f}), p = {found.p:.4f}; "
        f"by halves {', '.join(f'{half.after - half.before:+.4f}' for half in found.halves)}"
    )
    better = max(found.others, key=lambda stage: found.others[stage], default="")
    if better and found.others[better] > found.after:
        yield f"{better} alone is better than the trees: a blend should trust it more, or let the trees see it"
    least = f"{found.least:.4f}" if found.least < 1 else "any size"
    yield f"so many queries show a gain of {least} with a chance of 0.8"
    if found.needed is not None and not found.adopted:
        yield f"to see a gain of {found.gain:.4f} with that chance, about {found.needed:,} judged queries are needed"


def _card_lines(card: Mapping[str, Any]) -> Iterator[str]:
    for name in ("hash", "created", "collection", "generation", "source", "features", "trees", "lists", "commit"):
        if name in card:
            yield f"{name:<12} {card[name]}"
    told = card.get("trial", {})
    if told:
        yield f"{'trial':<12} {told['against']} {told['before']:.4f} to {told['after']:.4f}, p = {told['p']:.4f}"
    shares = list(card.get("importance", {}).items())[:COLUMNS_SHOWN]
    yield from (
        f"{'looks at' if not place else '':<12} {share:6.1%}  {name}" for place, (name, share) in enumerate(shares)
    )
