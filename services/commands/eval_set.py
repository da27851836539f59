"""`riddle eval make-set`: drafts questions from a collection, and walks a person through them."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retrieval.errors import Conflict, InvalidRequest
from services.commands.common import Config, Debug, Home, Json, load_settings, note, print_json, say
from services.commands.eval import eval_of

if TYPE_CHECKING:
    from eval.make_set import Account, Writers
    from services.settings import Settings

QUESTION_TOKENS = 40
BY = ("auto", "server", "model", "rules")


def register(app: typer.Typer) -> None:
    eval_of(app).command("make-set")(make_set)


def make_set(
    out: Annotated[
        Path, typer.Option(help="The file of drafts, JSONL; accepted ones are a set for `riddle eval run`.")
    ],
    collection: Annotated[
        str,
        typer.Option("--collection", "-c", help="Which collection; the settings' default without.", show_default=False),
    ] = "",
    n: Annotated[int, typer.Option("-n", min=1, help="How many drafts.")] = 50,
    seed: Annotated[int, typer.Option(help="Another seed draws other passages.")] = 0,
    by: Annotated[
        str,
        typer.Option(
            help="Who writes: server (generation.url), model (the one in process), rules; auto is the server if one is "
            "named, else rules. What a model fails at goes to the rules."
        ),
    ] = "auto",
    generator_url: Annotated[
        str | None, typer.Option("--generator-url", help="An OpenAI-compatible server, up to /v1.", show_default=False)
    ] = None,
    generator_model: Annotated[
        str | None, typer.Option("--generator-model", help="Its model; its first without.", show_default=False)
    ] = None,
    review: Annotated[bool, typer.Option("--review", help="Go through the drafts of the file, a key each.")] = False,
    home: Home = None,
    config: Config = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Draft questions from a collection for a person to accept, or go through them with --review.

    A draft names the passage that it comes from, the words that prove its answer, and where today's search has the
    document. Nothing counts before somebody accepts it.

    Example: riddle eval make-set --collection docs --out questions.jsonl -n 50; then the same --out with --review
    """
    if by not in BY:
        raise InvalidRequest(f"--by takes {', '.join(BY)}, not {by!r}")
    if review:
        _review(out, json)
        return
    flags = {"generation.url": generator_url, "generation.model": generator_model}
    settings = load_settings(home, config, flags)
    if out.exists():
        raise Conflict(f"{out} is there already: go through it with --review, or name another file")
    account = asyncio.run(_draft(settings, collection or settings.default_collection, out, n, seed, by))
    _tell(account, out, n, json)


async def _draft(settings: Settings, collection: str, out: Path, n: int, seed: int, by: str) -> Account:
    from eval.drafts import as_line
    from eval.make_set import DEPTH, Account, draft_set, sampled
    from retrieval.store import CollectionStore
    from services.bootstrap import collections_folder
    from services.local import local_asker
    from services.wire import SearchRequest

    snapshot = CollectionStore(collections_folder(settings.home)).snapshot(collection)
    account = Account()

    async with local_asker(settings, collection=collection) as asker, _writers(settings, by) as writers:

        async def find(question: str) -> list[str]:
            response = await asker.search(SearchRequest(query=question, collection=collection, k=5 * DEPTH))
            return list(dict.fromkeys(result.document_id for result in response.results))

        with out.open("x", encoding="utf-8") as file:
            async for draft in draft_set(lambda: sampled(snapshot, seed, n), n, writers, find, account):
                file.write(as_line(draft))
                file.flush()
    return account


@contextlib.asynccontextmanager
async def _writers(settings: Settings, by: str) -> AsyncIterator[Writers]:
    """Those who draft, in their order; a model is closed behind. Raises ModelMissing, InvalidRequest."""
    from fastapi import FastAPI

    from eval.draft_model import model_writer
    from eval.draft_rules import HeadingWriter, RuleWriter
    from eval.make_set import Writers
    from generation.embedded import EmbeddedModel, EmbeddedOptions
    from retrieval.models import find_model
    from services.life import Life
    from services.writers import chat_server

    life, models = Life(), []
    if by == "server" or (by == "auto" and settings.generation.url):
        if not settings.generation.url:
            raise InvalidRequest("--by server needs a server: --generator-url http://HOST:PORT/v1")
        models.append(model_writer(chat_server(settings, life)))
    elif by == "model":
        embedded = EmbeddedModel(
            find_model(settings.models.generator, settings.home), EmbeddedOptions(max_tokens=QUESTION_TOKENS)
        )

        async def close() -> None:
            await asyncio.to_thread(embedded.close)

        life.end.append(close)
        models.append(model_writer(embedded))
    async with life.span(FastAPI()):
        yield Writers((*models, RuleWriter()), (HeadingWriter(),))


def _review(out: Path, json: bool) -> None:
    from eval.review import review

    typed = sys.stdin.isatty()

    def key() -> str:
        """One key of a terminal; from a pipe, the first letter of the next line that is not empty."""
        if typed:
            return typer.getchar()
        return next((each.strip()[:1] for each in iter(sys.stdin.readline, "") if each.strip()), "")

    def line(asked: str) -> str:
        note(asked)
        return sys.stdin.readline()

    found = review(out, key, line, note)
    if json:
        print_json({"accepted": found.accepted, "rejected": found.rejected, "left": found.left})
    else:
        say(f"{out}: {found.accepted} accepted, {found.rejected} rejected, {found.left} to decide")


def _tell(account: Account, out: Path, wanted: int, json: bool) -> None:
    from eval.make_set import DEPTH

    if json:
        print_json(
            {
                "drafts": account.drafts,
                "passages": account.passages,
                "first": account.first,
                "not_found": account.not_found,
                "dropped": dict(account.dropped),
            }
        )
        return
    say(f"{out}: {account.drafts} drafts from {account.passages:,} passages; go through them with --review")
    say(
        f"today's search has {account.first} at rank 1, and {account.not_found} not among the first {DEPTH} documents: "
        "the first may be too easy, the others not to be answered by that document alone"
    )
    for why, count in account.dropped.most_common():
        note(f"  left out: {count} {why}")
    if account.drafts < wanted:
        note(f"only {account.drafts} of {wanted}: no other passage of the collection gives a question")
