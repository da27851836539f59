"""`riddle build` as people and scripts run it: summary, JSON, exit codes, and killed in the middle."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from indexing.build import BuildSettings, build
from indexing.sources import Rejected
from retrieval.store import CollectionStore
from services.cli import build_app
from services.cli import run as run_command
from services.commands.build import reasons
from tests.documents import Pdf, docx
from tests.fake_models import FakeEncoder
from tests.live import wait_until
from tests.requires import need


def write_rows(path: Path, count: int) -> Path:
    rows = [{"_id": f"d{number}", "text": f"Row {number} tells of pumps."} for number in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def finished(home: Path) -> int:
    """Partitions that have their vectors. What the build writes aside is renamed or gone while this looks."""
    steps = (home / "builds" / "docs").glob("[!.]*")
    return sum(any(step.glob("vectors-*.npy")) for step in steps)


def test_a_build_killed_with_sigkill_goes_on_where_it_was(tmp_path: Path) -> None:
    source, home = write_rows(tmp_path / "rows.jsonl", 60), tmp_path / "home"
    command = [sys.executable, "-m", "tests.build_child", str(home), str(source)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=Path(__file__).parents[2])
    assert child.stdin is not None
    child.stdin.write(b"\n\n\n")
    child.stdin.flush()
    wait_until(lambda: finished(home) >= 3 or child.poll() is not None)
    child.kill()
    child.wait()
    child.stdin.close()
    assert child.returncode == -9
    store = CollectionStore(home / "collections")
    assert store.names() == []
    summary = build(
        [source],
        "docs",
        store=store,
        encoder=FakeEncoder(),
        work=home / "builds",
        settings=BuildSettings(partition_documents=10),
    )
    assert (summary.documents, summary.reused) == (60, 30)
    assert store.info("docs").documents == 60
    assert finished(home) == 0


def test_rejects_of_one_reason_are_told_together_and_the_rare_ones_first() -> None:
    rejected = [Rejected(f"{i}.png", "no document") for i in range(30)] + [Rejected("a.pdf", "broken")]
    assert list(reasons(rejected)) == [
        "  set aside: a.pdf: broken",
        "  set aside: 0.png and 29 more: no document",
    ]
    many = [Rejected(f"{i}", f"reason {i}") for i in range(25)]
    assert list(reasons(many))[-1] == "  and 5 more for other reasons; --json lists them all"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such file or folder"),
        ([".", "--collection", "Bad Name"], "is no name for a collection"),
        ([".", "--format", "asciidoc"], "no format is called 'asciidoc'"),
        ([".", "--map", "text"], "cannot read the mapping 'text'"),
    ],
)
def test_what_cannot_be_built_is_one_line_and_exit_code_1(
    tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["build", "--home", str(tmp_path), *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err


def test_help_has_an_example_and_no_source_is_a_usage_error() -> None:
    runner = CliRunner()
    assert "Example: riddle build" in runner.invoke(build_app(), ["build", "--help"]).output
    assert runner.invoke(build_app(), ["build"]).exit_code == 2


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home of its own with the real encoder in it."""
    models = need.home("bge-small-en-v1.5") / "models"
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "models").symlink_to(models)
    return tmp_path / "home"


def run(home: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "services.cli", "build", "--home", str(home), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False, timeout=240)


@pytest.mark.slow
def test_files_of_many_kinds_are_built_and_the_broken_one_is_named(home: Path, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "pump.md").write_text("# Pumps\n\nThe hand pump needs oil every month.\n")
    (docs / "valve.txt").write_text("Valve\n=====\n\n.. note:: See :ref:`pumps`.\n")
    (docs / "page.html").write_text("<html><body><h1>Cover</h1><p>It hides the pump.</p></body></html>")
    (docs / "manual.pdf").write_bytes(Pdf().page([(11, 72, 700, "The manual tells how.")]).data())
    (docs / "letter.docx").write_bytes(docx([("Heading1", "Letter"), ("", "Dear pump.")]))
    (docs / "broken.pdf").write_bytes(b"%PDF-1.4")
    write_rows(docs / "rows.jsonl", 3)
    done = run(home, str(docs), "--collection", "kinds", "--replace", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    summary = json.loads(done.stdout)
    assert (summary["documents"], summary["rejected"]) == (8, 1)
    assert summary["rejects"] == [
        {"source": "broken.pdf", "reason": "a broken PDF (Failed to load document (PDFium: Data format error).)"}
    ]
    again = run(home, str(docs), "--collection", "kinds", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "8 documents" in again.stdout
    assert "set aside: broken.pdf" in again.stderr
