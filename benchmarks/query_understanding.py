"""What putting queries right brings: typed slips in judged queries, searched with and without spelling.

    python -m benchmarks.query_understanding ../shared/data --home .riddle --queries 400

For each set a slip in one word of six of every query, drawn from a seed (``benchmarks/typos.py``). nDCG@10 of the
queries as they were asked, mistyped, and mistyped and put right; of the untouched queries with spelling, which must
not lose; p by paired sign flips. ``--home`` names a home whose ``eval-NAME-*`` collections bring vectors; a set
without one is searched by words alone. Then how many slips were mended, how many untouched queries were changed, and
what it costs. ``vocabulary`` as the only argument times words by the million.
"""

from __future__ import annotations

import argparse
import random
import resource
import string
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.typos import mistyped, slip
from eval.datasets import Dataset, open_dataset
from eval.retrieval_metrics import evaluate_by_query
from eval.statistics import sign_flip
from retrieval.collection_words import CollectionWords
from retrieval.encoders import open_encoder
from retrieval.errors import IndexUnreadable
from retrieval.filters import EVERYTHING
from retrieval.library import Collection
from retrieval.models import find_model
from retrieval.recall import Beside, recall
from retrieval.snapshot import Snapshot
from retrieval.spelling import corrected
from retrieval.store import CollectionStore
from retrieval.types import Encoder
from retrieval.vocabulary import Vocabulary

SETS = {"scifact": "train", "nl2bash-tldr": "train", "squad": None}
STAGES = ("lexical", "dense", "fused")
METRIC = "nDCG@10"


@dataclass
class Tally:
    right: int = 0
    wrong: int = 0
    left: int = 0
    changed: int = 0
    ms: list[float] = field(default_factory=list)


Runs = dict[tuple[str, str], dict[str, dict[str, float]]]
"""By stage and kind of query: query id -> document id -> score."""


def study(dataset: Dataset, snapshot: Snapshot, encoder: Encoder | None, queries: int) -> None:
    words, began, before = CollectionWords(), time.process_time(), _resident()
    vocabulary = words.wait(snapshot)
    print(
        f"\n{dataset.name}: {snapshot.info.passages:,} passages, {len(vocabulary):,} words counted in "
        f"{time.process_time() - began:.1f} s of processor time, {_resident() - before:.0f} MB"
    )
    ids = [each for each in dataset.questions if each in dataset.qrels]
    chosen = random.Random(3).sample(ids, min(queries, len(ids)))
    runs: Runs = {}
    tally = Tally()
    for query_id in chosen:
        asked = dataset.questions[query_id].text
        wrong, slips = mistyped(asked, query_id)
        for kind, text in (("as asked", asked), ("mistyped", wrong)):
            began = time.process_time()
            found = corrected(text, snapshot, lambda: vocabulary, EVERYTHING)
            if kind == "mistyped":
                tally.ms.append(1000 * (time.process_time() - began))
                _count(tally, snapshot, slips, dict(found.words) if found else {})
            else:
                tally.changed += found is not None
            _search(runs, query_id, kind, snapshot, encoder, text, "")
            _search(runs, query_id, f"{kind}, put right", snapshot, encoder, text, found.query if found else "")
    _show(dataset, runs, chosen, tally)


def _count(tally: Tally, snapshot: Snapshot, slips: Sequence[tuple[str, str]], made: Mapping[str, str]) -> None:
    for typed, meant in slips:
        if typed not in made:
            tally.left += 1
        elif snapshot.analysis(made[typed]) == snapshot.analysis(meant):
            tally.right += 1
        else:
            tally.wrong += 1


def _search(
    runs: Runs, query_id: str, kind: str, snapshot: Snapshot, encoder: Encoder | None, text: str, meant: str
) -> None:
    if not meant and kind.endswith("put right"):  # nothing was amiss: the same search
        for stage in STAGES:
            same = runs.get((stage, kind.removesuffix(", put right")), {}).get(query_id)
            if same is not None:
                runs.setdefault((stage, kind), {})[query_id] = same
        return
    found = recall(snapshot, encoder, text, beside=Beside(meant=meant))
    for stage in STAGES if encoder else STAGES[:1]:
        run: dict[str, float] = {}
        for candidate in found.candidates:
            if stage in candidate.stages:
                score, document = candidate.stages[stage].score, candidate.passage.document_id
                run[document] = max(score, run.get(document, score))
        runs.setdefault((stage, kind), {})[query_id] = run


def _show(dataset: Dataset, runs: Runs, chosen: Sequence[str], tally: Tally) -> None:
    qrels = {each: dataset.qrels[each] for each in chosen}
    print("| stage | as asked | with spelling | p | mistyped | with spelling | p |\n|---|---|---|---|---|---|---|")
    for stage in dict.fromkeys(stage for stage, _ in runs):
        cells = [stage]
        for kind in ("as asked", "mistyped"):
            pair = [evaluate_by_query(qrels, runs[stage, each], [METRIC]) for each in (kind, f"{kind}, put right")]
            plain, mended = (np.array([scores[METRIC].get(each, 0.0) for each in chosen]) for scores in pair)
            p = float(np.ravel(sign_flip(mended - plain))[0])
            cells += [f"{plain.mean():.4f}", f"{mended.mean():.4f}", f"{p:.4f}"]
        print(f"| {' | '.join(cells)} |")
    slips = tally.right + tally.wrong + tally.left
    print(
        f"{len(chosen)} queries, {slips} slips: {tally.right / slips:.1%} mended, {tally.wrong / slips:.1%} made "
        f"another word, {tally.left / slips:.1%} left; {tally.changed / len(chosen):.1%} of the untouched queries "
        f"changed; {np.median(tally.ms):.2f} ms a mistyped query, 95 in 100 within {np.quantile(tally.ms, 0.95):.2f}"
    )


def vocabularies() -> None:
    """Words by the million: made of syllables, their frequencies falling as Zipf has them."""
    rng = random.Random(1)
    syllables = [a + b + c for a in "bcdfglmnprst" for b in "aeiou" for c in ("", *"lnrst")]
    made: set[str] = set()
    print("| words | built in s | MB | ms a misspelt word | 95 in 100 within |\n|---|---|---|---|---|")
    for size in (100_000, 500_000, 1_000_000):
        while len(made) < size:
            made.add("".join(rng.choices(syllables, k=rng.choice((2, 3, 3, 4)))) + rng.choice(string.ascii_lowercase))
        listed = sorted(made)
        before, began = _resident(), time.process_time()
        vocabulary = Vocabulary({word: 1 + size // (1 + at) for at, word in enumerate(listed)}, most=size)
        built, grown = time.process_time() - began, _resident() - before
        took = []
        for word in rng.sample([each for each in listed if len(each) >= 5], 200):
            wrong = slip(word, rng)
            began = time.process_time()
            vocabulary.near(wrong)
            took.append(1000 * (time.process_time() - began))
        print(f"| {size:,} | {built:.1f} | {grown:.0f} | {np.median(took):.1f} | {np.quantile(took, 0.95):.1f} |")


def _resident() -> float:
    """The most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _collection(home: Path | None, name: str, dataset: Dataset) -> tuple[Snapshot, Encoder] | None:
    """The collection of that home that holds the set's own documents, all of them."""
    if home is None:
        return None
    store = CollectionStore(home / "collections")
    for each in store.names():
        if each.startswith(f"eval-{name}-"):
            try:
                snapshot = store.snapshot(each)
            except IndexUnreadable:
                continue
            if snapshot.info.documents != sum(1 for _ in dataset.documents()):
                continue
            return snapshot, open_encoder(find_model(snapshot.info.encoder, home), threads=1)
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="the folder of data sets, or `vocabulary`")
    parser.add_argument("--home", type=Path)
    parser.add_argument("--queries", type=int, default=400)
    parser.add_argument("--sets", nargs="*", default=list(SETS))
    asked = parser.parse_args()
    if asked.data == "vocabulary":
        vocabularies()
        return
    for name in asked.sets:
        source = Path(asked.data) / name
        dataset = open_dataset(next(source.glob("*.json*")) if name == "squad" else source, SETS[name])
        there = _collection(asked.home, name, dataset)
        if there is not None:
            study(dataset, *there, asked.queries)
            continue
        with tempfile.TemporaryDirectory() as folder:
            collection = Collection.create(Path(folder) / "words")
            collection.upsert(dataset.documents())
            study(dataset, collection.snapshot(), None, asked.queries)


if __name__ == "__main__":
    main()
