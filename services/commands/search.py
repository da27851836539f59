"""`riddle search` and `riddle ask`: a question from the terminal, to a running server or to a home folder."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import textwrap
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from retrieval.errors import GenerationFailed, InvalidRequest
from services.commands.common import Config, Debug, Home, Json, load_settings, note, say

if TYPE_CHECKING:
    from pathlib import Path

    from services.asking import AnswerEvent, Asker
    from services.wire import FinalAnswerEvent, Result, SearchResponse

Collection = Annotated[
    str | None,
    typer.Option("--collection", "-c", help="Which collection; the settings' default without.", show_default=False),
]
Url = Annotated[str, typer.Option("--url", help="A running server; without one, the home folder is read.")]
K = Annotated[int | None, typer.Option("-k", min=1, help="How many passages.", show_default=False)]
ApiKey = Annotated[
    str,
    typer.Option(
        "--key",
        envvar="RIDDLE_KEY",
        show_envvar=False,
        show_default=False,
        help="API key to ask with (RIDDLE_KEY); without one, what is public.",
    ),
]
Filters = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        "-f",
        metavar="KEY=VALUE",
        show_default=False,
        help="Only documents of such metadata: =, !=, >, >=, <, <=, several with commas for any of them; or the "
        "API's JSON. Given again, all must hold.",
    ),
]


def register(app: typer.Typer) -> None:
    app.command()(search)
    app.command()(ask)


def search(
    query: Annotated[str, typer.Argument(help="What to look for.")],
    collection: Collection = None,
    k: K = None,
    filters: Filters = None,
    group: Annotated[
        int | None, typer.Option("--group", min=1, help="At most so many passages a document, together.", metavar="N")
    ] = None,
    facets: Annotated[
        list[str] | None, typer.Option("--facet", help="Count the values of this metadata key.", metavar="KEY")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show what each stage made of each passage.")] = False,
    key: ApiKey = "",
    url: Url = "",
    home: Home = None,
    config: Config = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Find passages.

    Example: riddle search "serve static files" --collection django -k 5 --filter "year>=2024"
    """

    async def run() -> SearchResponse:
        request = SearchRequest(
            query=query,
            collection=collection,
            k=k,
            filters=filter_tree(filters or []),
            group_by="document" if group else None,
            group_size=group,
            facets=facets or [],
            explain=explain or json,
        )
        async with asker(url, home, config, collection, key=key) as service:
            return await service.search(request)

    with readable():
        from services.filter_text import filter_tree
        from services.wire import SearchRequest

        found = asyncio.run(run())
    if json:
        say(found.model_dump_json())
        return
    for rank, result in enumerate(found.results, start=1):
        _print_result(rank, result)
    if not found.results:
        say("nothing found")
    for name, counts in (found.facets or {}).items():
        say(f"{name}: " + (", ".join(f"{each.value} ({each.count:,})" for each in counts) or "in no document"))
    if found.correction:
        note(f"{'searched' if found.correction.searched else 'did you mean'}: {found.correction.query}")
    _print_degraded(found.degraded)


def ask(
    question: Annotated[str, typer.Argument(help="What to answer.")],
    collection: Collection = None,
    k: K = None,
    filters: Filters = None,
    key: ApiKey = "",
    url: Url = "",
    home: Home = None,
    config: Config = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Answer a question as the words come, then list the passages that the answer rests on.

    Example: riddle ask "How do I serve static files in production?" --collection django
    """

    async def run() -> None:
        request = AnswerRequest(query=question, collection=collection, k=k, filters=filter_tree(filters or []))
        async with (
            asker(url, home, config, collection, write=True, key=key) as service,
            contextlib.aclosing(service.ask(request)) as events,
        ):
            await (_collect(events) if json else _print_stream(events))

    with readable():
        from services.filter_text import filter_tree
        from services.wire import AnswerRequest

        asyncio.run(run())


@contextlib.contextmanager
def readable() -> Iterator[None]:
    """Turn what the wire's models refuse into one line that names the field."""
    from pydantic import ValidationError

    from services.http import field_errors

    try:
        yield
    except ValidationError as error:
        found = field_errors(error.errors())
        raise InvalidRequest("; ".join(f"{each.field}: {each.message}" for each in found)) from error


@asynccontextmanager
async def asker(
    url: str,
    home: Path | None,
    config: Path | None,
    collection: str | None,
    *,
    write: bool = False,
    load: bool = True,
    key: str = "",
) -> AsyncIterator[Asker]:
    """The server at ``url``, or the collections of the home folder with their models loaded; asked with ``key``."""
    if url:
        import httpx

        from services.asking import RemoteAsker

        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with httpx.AsyncClient(base_url=url.rstrip("/"), timeout=120, headers=headers) as http:
            yield RemoteAsker(http)
        return
    from services.local import local_asker

    settings = load_settings(home, config)
    wanted = (collection or settings.default_collection) if load else ""
    async with local_asker(settings, collection=wanted, write=write, key=key) as service:
        yield service


def _print_result(rank: int, result: Result) -> None:
    say(f"{rank:>3}  {result.score:.3f}  {_place(result)}")
    page = f", page {result.page}" if result.page is not None else ""
    say(f"     {result.passage_id}{page}")
    text = " ".join(result.text.split())
    say(textwrap.indent(textwrap.fill(textwrap.shorten(text, 400, placeholder=" …"), 96), "     "))
    if result.explain:
        stages = "  ".join(f"{name} #{stage.rank} {stage.score:.4g}" for name, stage in result.explain.items())
        say(f"     [{stages}]")
    say()


def _place(result: Result) -> str:
    """Title and headings; a first heading that repeats the title is not shown twice."""
    path = [result.title or result.document_id, *result.headings]
    return " > ".join(path[1:] if path[1:2] == path[:1] else path)


def _print_degraded(degraded: list[str]) -> None:
    if degraded:
        note(f"without {', '.join(degraded)}: `riddle doctor` says why")


async def _collect(events: AsyncGenerator[AnswerEvent]) -> None:
    """Print the answer as the API gives it to those who do not stream."""
    from services.wire import AnswerResponse, FinalAnswerEvent, SearchResultsEvent

    found: SearchResultsEvent | None = None
    final: FinalAnswerEvent | None = None
    async for event in events:
        match event:
            case SearchResultsEvent():
                found = event
            case FinalAnswerEvent():
                final = event
    if found is None or final is None:
        raise GenerationFailed("the answer ended before it was complete")
    whole = AnswerResponse(**dict(final), generation=found.generation, results=found.results)
    say(whole.model_dump_json())


async def _print_stream(events: AsyncGenerator[AnswerEvent]) -> None:
    from services.asking import Text
    from services.wire import FinalAnswerEvent, SearchResultsEvent

    results: list[Result] = []
    final: FinalAnswerEvent | None = None
    async for event in events:
        match event:
            case SearchResultsEvent():
                results = event.results
            case Text(text):
                sys.stdout.write(text)
                sys.stdout.flush()
            case FinalAnswerEvent():
                final = event
    say()
    if final is None:
        raise GenerationFailed("the answer ended before it was complete")
    _print_sources(final, results)
    _print_degraded(final.degraded)


def _print_sources(final: FinalAnswerEvent, results: list[Result]) -> None:
    """The cited passages in the order of their first citation, with the words of the document that were meant."""
    by_id = {result.passage_id: result for result in results}
    cited = [by_id[citation.passage_id] for citation in final.citations if citation.passage_id in by_id]
    if not cited:
        return
    say("\nSources")
    for number, passage_id in enumerate(dict.fromkeys(result.passage_id for result in cited), start=1):
        result = by_id[passage_id]
        say(f"{number:>3}  {_place(result)}  ({passage_id})")
        for citation in final.citations:
            if citation.passage_id == passage_id:
                start, end = (place - result.offsets[0] for place in citation.source_span)
                quote = " ".join(result.text[start:end].split())
                say(f"     {citation.verdict}: {textwrap.shorten(quote, 160, placeholder=' …')}")
