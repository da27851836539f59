"""Gathers what ranking is learned from: searches of judged questions, and what a model's card says of its origin."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from eval.click_lists import click_lists
from eval.clicks import impressions
from eval.datasets import Dataset, open_dataset
from eval.ltr_lists import JudgedList, columns_of_run, judged_list, lists_of_run
from eval.runs import RunFolder
from eval.usage_rows import feedback_rows, query_rows
from ranking.features import FeatureSet
from ranking.fields import numeric_fields
from retrieval.errors import InvalidRequest
from retrieval.types import Candidate, Passage, StageScore
from services.asking import Asker
from services.evaluation import commit_of
from services.local import local_asker
from services.settings import Settings
from services.targets.riddle import Loop
from services.wire import Result, SearchRequest
from services.wire_ranking import RankingOptions, Rerank

SHOWN = 200
"""Passages that are asked for: all that two channels of depth 100 can bring."""


def all_stages(settings: Settings) -> Settings:
    """Searches as a blend sees them, late interaction among the stages, and read as deep as they ask: what is learned
    is for that order, whether the settings name it yet or not."""
    return replace(settings, rank=replace(settings.rank, order="blend", early_stop=0))


def recall_only(settings: Settings) -> Settings:
    """Without a cross-encoder: the trees come before it, and it need not be loaded for what they see."""
    return all_stages(replace(settings, models=replace(settings.models, reranker="")))


def searched_lists(
    loop: Loop,
    asker: Asker,
    collection: str,
    dataset: Dataset,
    features: FeatureSet,
    say: Callable[[int, int], None] = lambda done, total: None,
) -> list[JudgedList]:
    """Ask every judged question, nothing reranked, and keep the features of all candidates, in fused order.

    Raises InvalidRequest for a set that judges no documents, and what a search raises.
    """
    judged = {query_id: asked for query_id, asked in dataset.questions.items() if dataset.qrels.get(query_id)}
    if not judged:
        raise InvalidRequest(f"{dataset.source} judges no documents: there is nothing to learn an order from")
    found = []
    for done, (query_id, asked) in enumerate(judged.items(), 1):
        request = SearchRequest(
            query=asked.text,
            collection=collection,
            k=SHOWN,
            ranking=RankingOptions(rerank=Rerank(depth=0)),
            explain=True,
        )
        response = loop.run(asker.search(request))
        candidates = sorted(map(candidate_of, response.results), key=_fused)
        if candidates:
            found.append(judged_list(query_id, asked.text, candidates, dataset.qrels[query_id], features))
        say(done, len(judged))
    return found


def candidate_of(result: Result) -> Candidate:
    """What an explained search shows, as ranking knows it."""
    passage = Passage(
        passage_id=result.passage_id,
        document_id=result.document_id,
        text=result.text,
        offsets=result.offsets,
        title=result.title,
        headings=tuple(result.headings),
        page=result.page,
        context=result.context,
        source=result.source,
        metadata=result.metadata,
    )
    stages = {name: StageScore(stage.rank, stage.score) for name, stage in (result.explain or {}).items()}
    return Candidate(passage, result.score, result.scored_by, stages)


def origin(collection: str, generation: str, source: Mapping[str, Any]) -> dict[str, Any]:
    """What a model's card says of where and when it was trained."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "collection": collection,
        "generation": generation,
        "source": dict(source),
        "version": version("riddle-search"),
        "commit": commit_of(Path(__file__).parent),
    }


def _fused(candidate: Candidate) -> tuple[int, str]:
    seen = candidate.stages.get("fused")
    return (1 << 30 if seen is None else seen.rank, candidate.passage.passage_id)


@dataclass(frozen=True, slots=True)
class Material:
    """Lists to learn from, and where they are from."""

    lists: tuple[JudgedList, ...]
    features: FeatureSet
    columns: tuple[str, ...]
    """Those that the lists fill."""
    generation: str
    about: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    """What a person should know of them."""


Say = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be learned from: exactly one of ``dataset``, ``run`` and ``clicks``."""

    collection: str
    dataset: str = ""
    run: Path | None = None
    clicks: bool = False
    split: str | None = None
    limit: int | None = None
    seed: int = 0
    fields: str = ""
    """The user's own numbers, as ``numeric_fields`` reads them."""


def gathered(settings: Settings, wanted: Wanted, say: Say) -> Material:
    """Gather it. Raises InvalidRequest unless one thing is named, and what reading and searching raise."""
    if sum((bool(wanted.dataset), wanted.run is not None, wanted.clicks)) != 1:
        raise InvalidRequest("name one thing to learn from: --dataset, --run or --clicks")
    features = FeatureSet(numeric_fields(wanted.fields))
    if wanted.clicks:
        return from_clicks(settings, wanted.collection, features)
    if wanted.run is not None:
        return from_run(RunFolder(wanted.run), features)
    dataset = open_dataset(wanted.dataset, wanted.split, wanted.limit, wanted.seed)
    return from_dataset(settings, wanted.collection, dataset, features, say)


def from_dataset(settings: Settings, collection: str, dataset: Dataset, features: FeatureSet, say: Say) -> Material:
    """Search the collection for every judged question, in this process."""
    lean = recall_only(settings)
    with contextlib.closing(Loop()) as loop, loop.entered(local_asker(lean, collection=collection)) as asker:
        lists = searched_lists(loop, asker, collection, dataset, features, say)
        generation = loop.run(asker.collection(collection)).generation
    about = {"kind": "judgements", "dataset": dataset.name, "split": dataset.split, "queries": len(lists)}
    return Material(tuple(lists), features, features.names, generation, about)


def from_run(run: RunFolder, features: FeatureSet) -> Material:
    """Read the stages off a run folder."""
    lists = lists_of_run(run, features)
    manifest = run.manifest()
    about = {"kind": "run", "run": manifest.id, "dataset": manifest.dataset.get("name", ""), "queries": len(lists)}
    notes = ("a run keeps no texts: the trees see what the stages said of documents, and nothing of their words",)
    generation = str(manifest.target.get("generation", ""))
    return Material(tuple(lists), features, columns_of_run(features.names), generation, about, notes)


def from_clicks(settings: Settings, collection: str, features: FeatureSet) -> Material:
    """Read the query log and the feedback of the home folder."""
    unreadable: list[str] = []
    seen = impressions(
        query_rows(settings.home, unreadable.append), feedback_rows(settings.home, unreadable.append), collection
    )
    found = click_lists(seen, features)
    chances = ", ".join(f"{chance:.2f}" for chance in found.propensities.by_place)
    how = "from results that stood at several places" if found.propensities.method == "harvest" else "by EM"
    notes = (
        f"{found.impressions:,} pages with {len(found.lists):,} clicks to learn from; left out: {found.without:,} "
        f"without vectors of these features, {seen.silent:,} outside sessions, {seen.machines:,} of measurements, "
        f"{seen.strays:,} clicks whose search is gone, {len(unreadable):,} unreadable lines",
        f"looked at by place, {how}: {chances}",
    )
    about = {
        "kind": "clicks",
        "pages": found.impressions,
        "clicks": len(found.lists),
        "propensities": list(found.propensities.by_place),
        "method": found.propensities.method,
    }
    return Material(found.lists, features, features.names, "", about, notes)
