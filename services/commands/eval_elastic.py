"""`riddle eval index-elasticsearch`: puts a set's documents into an index, so that both engines have the same."""

from __future__ import annotations

from typing import Annotated

import typer

from services.commands.common import Debug, Json, print_json, say
from services.commands.eval import eval_of


def register(app: typer.Typer) -> None:
    eval_of(app).command("index-elasticsearch")(index_elasticsearch)


def index_elasticsearch(
    dataset: Annotated[
        str, typer.Option(help="A set with documents: a folder (BEIR, TREC), SQuAD JSON, or ir-datasets:NAME.")
    ],
    target: Annotated[str, typer.Option(help="elasticsearch:URL/INDEX of an index that is not there yet.")],
    split: Annotated[str | None, typer.Option(help="Which part of the set.", show_default=False)] = None,
    analyzer: Annotated[
        str, typer.Option(help="How text is analysed; english, or cjk for Chinese, when left out.", show_default=False)
    ] = "",
    key: Annotated[
        str,
        typer.Option(
            "--target-key", help="API key of the cluster, or write USER:PASSWORD@ into the address.", show_default=False
        ),
    ] = "",
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Put the documents of a set into a new Elasticsearch index, to measure it on the same questions.

    Example: riddle eval index-elasticsearch --dataset beir/scifact --target elasticsearch:http://localhost:9200/scifact
    """
    from eval.datasets import open_dataset
    from services.targets.elastic import open_elastic

    found = open_dataset(dataset, split)
    with open_elastic(target, key) as index:
        count = index.load(found.documents(), analyzer)
        told = index.describe()
    if json:
        print_json({"documents": count, **told})
        return
    analysed = ", ".join(sorted(set(told["analyzers"].values())))
    say(f"{index.where} (Elasticsearch {told['version']}) holds {count:,} documents, in {analysed}")
