"""`riddle eval report`: runs as one HTML file, to be read anywhere or kept by a CI."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.commands.common import Debug, Json, note, print_json, say
from services.commands.eval import eval_of


def register(app: typer.Typer) -> None:
    eval_of(app).command("report")(report)


def report(
    runs: Annotated[
        list[Path], typer.Argument(help="Run folders; the last is reported, earlier ones are compared with it.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The HTML file to write.", metavar="FILE")] = Path("report.html"),
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write one HTML file of a run: quality by stage, latency, answers with their citations, the worst, failures.

    The file needs nothing beside itself, runs no script and loads nothing.

    Example: riddle eval report runs/before runs/after --out report.html
    """
    from eval.report import report as written
    from eval.run_views import load_run
    from eval.runs import RunFolder
    from retrieval.errors import InvalidRequest

    folders = [path.resolve() for path in runs]
    if len(set(folders)) < len(folders):
        raise InvalidRequest("the same run is named twice; name each once")
    names = _names(folders)
    loaded = [load_run(RunFolder(folder), name) for folder, name in zip(folders, names, strict=True)]
    for each in loaded:
        if not each.manifest.finished:
            note(f"{each.path} is not finished: the report shows what is there")
    html = written(loaded)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(html, encoding="utf-8")
    if json:
        print_json({"out": str(out), "runs": names, "bytes": len(html.encode())})
    else:
        say(f"{out}: {', '.join(names)}, {len(html.encode()) / 1e6:.1f} MB")


def _names(folders: list[Path]) -> list[str]:
    """The folders' own names, with their parents' where two share one."""
    own = [folder.name for folder in folders]
    return own if len(set(own)) == len(own) else [f"{folder.parent.name}/{folder.name}" for folder in folders]
