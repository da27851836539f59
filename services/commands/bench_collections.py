"""`riddle bench` of the index engine: kills, churn, filters, interleavings, and one large collection as a whole."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from retrieval.errors import RiddleError
from services.commands.bench import bench_of, machine
from services.commands.common import Config, Debug, Home, Json, load_settings, note, print_json, say

if TYPE_CHECKING:
    from eval.bench.corpus import Corpus, VectorSource
    from eval.bench.targets import OpenCollection
    from services.settings import Settings

Seed = Annotated[int, typer.Option(help="Equal seeds draw equal data and equal kills.")]
Passages = Annotated[int, typer.Option(min=1000, help="How many passages the collection holds.")]
SEED = 20261124


def register(app: typer.Typer) -> None:
    bench = bench_of(app)
    bench.command()(kills)
    bench.command()(interleave)
    bench.command()(churn)
    bench.command()(filters)
    bench.command("ten-million")(ten_million)


def kills(
    count: Annotated[int, typer.Option(min=1, help="How many processes are killed.")] = 200,
    seed: Seed = SEED,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Kill writers, mergers, builders and publishers at random points; nothing acknowledged may be lost.

    After each kill the collection is opened afresh, its files are checked, and every document is looked for by id,
    by words and by vector. Exit code 1 when anything was lost, half there, or unreadable.

    Example: riddle bench kills --count 200
    """
    from eval.bench.kills import run_kills
    from eval.bench.latency import table

    with tempfile.TemporaryDirectory(prefix="riddle-kills-") as folder:
        report = run_kills(Path(folder), count, seed, progress=note)
    if json:
        print_json({"machine": machine(), **report.as_json()})
    else:
        say(f"{machine()} · seed {seed} · {report.seconds:.0f} s\n")
        rows = [(f"{kind} by {manner}", number) for (kind, manner), number in sorted(report.kills.items())]
        rows += [("all kills", report.count), ("batches acknowledged", report.acknowledged)]
        rows += [("kills with a batch in flight", report.in_flight), ("of these batches there, whole", report.kept)]
        say(table([*rows, ("problems", len(report.problems))], ("what", "count")))
    _failing(report.problems)


def interleave(
    count: Annotated[int, typer.Option(min=1, help="How many random steps.")] = 10_000,
    seed: Seed = SEED,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Changes, changes of rights, merges and cached searches in random order; no answer may be stale or show too much.

    Every answer, from the cache or not, is compared with the documents as they stand at that moment.

    Example: riddle bench interleave --count 10000
    """
    from eval.bench.interleave import run_interleavings
    from eval.bench.latency import table

    with tempfile.TemporaryDirectory(prefix="riddle-interleave-") as folder:
        report = run_interleavings(Path(folder), count, seed, progress=note)
    if json:
        print_json({"machine": machine(), **report.as_json()})
    else:
        say(table([*sorted(report.done.items()), ("wrong answers", len(report.problems))], ("what", "count")))
    _failing(report.problems)


def churn(
    home: Home = None,
    config: Config = None,
    passages: Passages = 100_000,
    seconds: Annotated[
        float, typer.Option(min=1, help="How long the collection changes; searched alone a third.")
    ] = 60,
    upserts: Annotated[int, typer.Option(min=100, help="Documents written a second, in batches of 100.")] = 1000,
    searches: Annotated[int, typer.Option(min=1, help="Searches a second.")] = 50,
    encoder: Annotated[str, typer.Option(help="Model that encodes every question first, as a service does.")] = "",
    seed: Seed = SEED,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Search 50 times a second while 1,000 documents a second are written, each visible to the next search.

    Searcher and writer are processes of their own; requests arrive at fixed times and wait at their own cost. Target:
    no failed search, nothing stale, p99 within twice the idle one. Exit code 1 when a search failed or was stale.

    Example: riddle bench churn --passages 100000
    """
    import functools

    from eval.bench.churn import Churn, Queries, run_churn
    from eval.bench.latency import table
    from eval.bench.targets import OpenCollection, settled
    from services.encoders import encoder_named

    settings = load_settings(home, config)
    corpus, kept = _collection(passages, seed, settings)
    with tempfile.TemporaryDirectory(prefix="churn-", dir=kept.root.parent) as folder:
        shutil.copytree(kept.root / kept.name, Path(folder) / kept.name)
        model = functools.partial(encoder_named, encoder, settings) if encoder else None
        target = OpenCollection(Path(folder), kept.name, model)
        queries = Queries(corpus.texts.queries(seed, 1000), corpus.queries(1000))
        fresh = corpus.vectors.block(corpus.blocks, 30_000)
        plan = Churn(upserts=upserts, searches=searches, seconds=seconds, idle_s=max(1.0, seconds / 3))
        report = run_churn(target, queries, fresh, plan, progress=note)
        settled(Path(folder), kept.name)
    if json:
        print_json({"machine": machine(), "passages": corpus.passages, **report.as_json()})
    else:
        asked = f"questions encoded by {encoder}" if encoder else "vectors supplied"
        say(f"{machine()} · {corpus.passages:,} passages · {asked} · {seconds:.0f} s\n")
        named = (("searches, idle", report.idle), ("searches, busy", report.busy), ("batches of 100", report.writes))
        rows = [(what, len(each.samples), len(each.failures), each.p50, each.p99) for what, each in named]
        say(table(rows, ("what", "n", "failed", "p50 ms", "p99 ms")))
        met = "met" if report.ratio <= 2 else "MISSED"
        say(f"\np99 busy by idle {report.ratio:.2f}, target 2: {met}")
        say(f"{report.probes} searches for what was acknowledged just before, {len(report.stale)} of them stale")
    _failing([*report.busy.failures, *report.idle.failures, *report.writes.failures, *report.stale])


def filters(
    home: Home = None,
    config: Config = None,
    passages: Passages = 100_000,
    queries: Annotated[int, typer.Option(min=1, help="How many query vectors.")] = 100,
    vectors: Annotated[str, typer.Option(help="How the vectors are indexed: a spec string, or auto.")] = "auto",
    seed: Seed = SEED,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Recall and time of dense search under filters of 0.01 % to 100 %, some of which go with the vectors.

    Recall is against a scan of every vector as it was generated. Targets: recall@10 of at least 0.95, median within
    three times the unfiltered one. Exit code 1 when anything excluded was returned.

    Example: riddle bench filters --passages 100000
    """
    from eval.bench.filters_bench import exact, measure
    from eval.bench.latency import table
    from retrieval.store import CollectionStore

    settings = load_settings(home, config)
    corpus, target = _collection(passages, seed, settings, vectors)
    asked = corpus.queries(queries)
    truth = exact(corpus, asked, progress=note)
    found = measure(CollectionStore(target.root).open(target.name).snapshot(), corpus, asked, truth)
    if json:
        print_json({"machine": machine(), "passages": corpus.passages, "cases": [each.as_json() for each in found]})
    else:
        say(f"{machine()} · {corpus.passages:,} passages · {vectors}\n")
        say(table(*case_rows([each.as_json() for each in found])))
    _failing([f"{each.case}: {each.excluded} excluded passages were returned" for each in found if each.excluded])


def case_rows(cases: list[dict[str, Any]]) -> tuple[list[tuple[object, ...]], tuple[str, ...]]:
    """Rows and head of the table of filters."""
    plain = float(cases[0]["p50_ms"])
    rows: list[tuple[object, ...]] = [
        (
            each["case"],
            f"{100 * each['selectivity']:.3g} %",
            f"{each['recall@10']:.3f}",
            each["worst"],
            float(each["p50_ms"]),
            float(each["p99_ms"]),
            f"{each['p50_ms'] / plain:.2f}",
            float(each["first_ms"]),
        )
        for each in cases
    ]
    return rows, ("filter", "admits", "recall@10", "worst", "p50 ms", "p99 ms", "times unfiltered", "first ms")


def ten_million(
    home: Home = None,
    config: Config = None,
    passages: Passages = 10_000_000,
    part: Annotated[list[str] | None, typer.Option(help="Only this part; may be given again. By default all.")] = None,
    again: Annotated[bool, typer.Option(help="Also what has a result already.")] = False,
    vectors: Annotated[str, typer.Option(help="How the vectors are indexed: a spec string, or auto.")] = "auto",
    seed: Seed = SEED,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """One collection of ten million passages: built, weighed, started cold, searched, changed and merged.

    Parts: generate, build, size, exact, filters, library, cold, gateway, churn, merge. Each result is kept in the home
    and not measured again; a build that was killed is gone on with. Needs RIDDLE_DATA and the encoder of the settings,
    of 384 dimensions; ten million passages take about 30 GB of disk. Smaller numbers give an estimate of that.

    Example: riddle bench ten-million --passages 100000
    """
    import functools

    from eval.bench.ten_million import COLLECTION, PARTS, Plan, TenMillion, estimate
    from retrieval.store import CollectionStore
    from services.bootstrap import collections_folder
    from services.encoders import encoder_named
    from services.trial import running

    if unknown := set(part or ()) - set(PARTS):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: the parts are {', '.join(PARTS)}")
    settings = load_settings(home, config)
    encoder = encoder_named(settings.models.encoder, settings).spec
    bench = TenMillion(
        settings.home / "bench" / COLLECTION,
        Plan(passages, seed, vectors),
        CollectionStore(collections_folder(settings.home)),
        _source(seed),
        encoder,
        _data(),
    )
    gateway = functools.partial(running, settings.home, config, COLLECTION)
    results = bench.run(part or PARTS, gateway, note, again=again)
    if json:
        print_json({"machine": machine(), "passages": passages, **results})
        return
    say(f"{machine()} · {passages:,} passages · {vectors} · encoder of the queries {encoder.name}")
    for name, result in results.items():
        say(f"\n{name}")
        for key, value in result.items():
            say(f"  {key:<16}{value}")
    if passages < 10_000_000 and {"build", "size"} <= results.keys():
        say(f"\nfor ten million, by this: {estimate(results, passages, 10_000_000)}")


def _collection(passages: int, seed: int, settings: Settings, vectors: str = "auto") -> tuple[Corpus, OpenCollection]:
    """A collection of generated passages below the home, built when it is not there. Nobody changes it."""
    from eval.bench.corpus import FIELDS, Corpus
    from eval.bench.synthetic import generator_version
    from eval.bench.targets import OpenCollection, supplied
    from eval.bench.texts import Pieces, Texts, read_pieces
    from retrieval.batch import write_generation
    from retrieval.manifest import CollectionSettings
    from retrieval.store import CollectionStore

    folder = settings.home / "bench"
    pieces = folder / "pieces.json"
    if not pieces.exists():
        note("reading the pieces of real texts")
        folder.mkdir(parents=True, exist_ok=True)
        read_pieces(_data()).save(pieces)
    corpus = Corpus(Texts(Pieces.load(pieces), seed), _source(seed), Corpus.documents_for(passages))
    described = f"{passages}-{seed}-{vectors}-{generator_version()}".lower()
    name = "".join(letter if letter.isalnum() else "-" for letter in described)
    store = CollectionStore(folder / "collections")
    if name not in store.names():
        note(f"building a collection of {corpus.passages:,} passages")
        write_generation(
            store,
            name,
            corpus.parts(),
            encoder=supplied(corpus.vectors.dimension),
            settings=CollectionSettings(vectors=vectors, fields=FIELDS),
            key=name,
            threads=2,
            workers=2,
        )
    return corpus, OpenCollection(store.root, name)


def _source(seed: int) -> VectorSource:
    from eval.bench.corpus import Embeddings
    from eval.bench.synthetic import Shape, Synthetic

    return Embeddings(Synthetic(Shape.load(), seed))


def _data() -> Path:
    """The folder of data sets: RIDDLE_DATA, or ``../shared/data`` beside the clone."""
    from services.settings import environment

    return Path(environment().get("RIDDLE_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")


def _failing(problems: list[str]) -> None:
    if problems:
        for problem in problems[:20]:
            note(problem)
        raise RiddleError(f"{len(problems)} problems")
