"""`riddle bench ann`: vector indexes by their specs beside plain faiss and plain hnswlib, on embeddings of yours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retrieval.errors import InvalidRequest
from services.commands.bench import bench_of, machine
from services.commands.common import Config, Debug, Home, Json, load_settings, note, print_json, say

if TYPE_CHECKING:
    from eval.bench.embeddings import Embeddings

SEED = 20261124


def register(app: typer.Typer) -> None:
    bench_of(app).command()(ann)


def ann(
    embeddings: Annotated[
        Path | None, typer.Option(help="x.fvecs, x.npy, or x.i8.npy beside x.scales.npy; its last rows are questions.")
    ] = None,
    collection: Annotated[str, typer.Option(help="Take the vectors of this collection instead.")] = "",
    specs: Annotated[
        str, typer.Option(help="Specs of indexes, separated by spaces; auto chooses by the size.")
    ] = "auto HNSW16,SQ8 IVF4096,PQ96x4fsr,Refine(SQ8) IVF4096,RaBitQfs,Refine(SQ8)",
    peers: Annotated[str, typer.Option(help="Of faiss, faiss-hnsw and hnswlib.")] = "faiss hnswlib",
    passages: Annotated[int, typer.Option(min=0, help="Only so many of the vectors; 0 for all.")] = 0,
    questions: Annotated[int, typer.Option(min=1, help="How many are held out as questions.")] = 1000,
    recall: Annotated[float, typer.Option(min=0.1, max=1.0, help="The recall@10 to compare at.")] = 0.95,
    threads: Annotated[int, typer.Option(min=1, help="Threads that build; searches take one.")] = 2,
    work: Annotated[Path | None, typer.Option(help="Keeps the indexes for the next run.")] = None,
    home: Home = None,
    config: Config = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Recall, time and memory of vector indexes, and of the libraries' own in the same run.

    Every index is built once, swept over its efforts, and then raced: each at the effort that is fastest at the recall
    aimed at, over all questions, taking turns. Do not run anything beside it.

    Example: riddle bench ann --embeddings minilm.i8.npy --specs "auto IVF4096,PQ96x4fsr,Refine(SQ8)"
    """
    from eval.bench.ann import HEAD, bench_ann, rows_of
    from eval.bench.ann_peers import Contender, Ours
    from eval.bench.ann_peers import peers as peers_of
    from eval.bench.embeddings import read_embeddings
    from eval.bench.latency import table
    from retrieval.vector_spec import lists_for, resolve
    from services.bootstrap import collections_folder

    settings = load_settings(home, config)
    if embeddings is not None:
        source = read_embeddings(embeddings, queries=questions, passages=passages or None)
    elif collection:
        source = _of_collection(collections_folder(settings.home), collection, questions)
    else:
        raise InvalidRequest("name vectors to measure with: --embeddings FILE or --collection NAME")
    ours: list[Contender] = []
    for spec in specs.split():
        choice = resolve(spec, source.count, source.dimension, recall=recall)
        note(f"{spec}: {choice.spec}, {choice.why}")
        ours.append(Ours(choice.spec))
    plain = peers_of(peers.split(), source.dimension, lists_for(source.count))
    report = bench_ann(
        source, [*ours, *plain], work or settings.home / "bench-ann", recall=recall, threads=threads, progress=note
    )
    if json:
        print_json({"machine": machine(), "vectors": source.count, "dimension": source.dimension, **report.as_json()})
        return
    say(f"{machine()} · {source.name}: {source.count:,} vectors of {source.dimension}, {questions:,} questions\n")
    say(table(rows_of(report.swept), HEAD))
    say(f"\nEach at recall@10 of {recall}, taking turns:\n")
    say(table(rows_of(report.raced), HEAD))


def _of_collection(root: Path, name: str, questions: int) -> Embeddings:
    """The vectors of the segments that hold most of a collection's passages, in their order."""
    import numpy as np

    from eval.bench.embeddings import of_vectors
    from retrieval.store import CollectionStore

    indexes = [view.segment.dense for view in CollectionStore(root).open(name).snapshot().segments]
    bases = np.cumsum([0] + [index.count for index in indexes])

    def read(rows: np.typing.NDArray[np.int64]) -> np.typing.NDArray[np.float32]:
        owners = np.searchsorted(bases, rows, side="right") - 1
        parts = [indexes[owner].vectors(rows[owners == owner] - bases[owner]) for owner in np.unique(owners).tolist()]
        return np.concatenate(parts)  # rows ascend, so that parts are in their order

    return of_vectors(name, int(bases[-1]), read, queries=questions, seed=SEED)
