"""The shape of the whole: who imports whom, what is documented, and habits that would otherwise creep in."""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from services.cli import build_app
from services.settings import NOT_SETTINGS, described, known

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("retrieval", "ranking", "generation", "indexing", "eval", "services")
SOURCES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))
PYTHON = SOURCES + sorted(path for name in ("tests", "benchmarks") for path in (ROOT / name).rglob("*.py"))

HEAVY: dict[str, set[str]] = {
    "torch": {
        "generation/embedded.py",
        "generation/weights.py",
        "retrieval/torch_encoder.py",
        "retrieval/torch_graph.py",
        "eval/train/grounding.py",
        "eval/train/grounding_network.py",
        "eval/train/progress.py",
        *(f"ranking/train/{name}.py" for name in ("batches", "judging", "losses", "networks", "teacher")),
        *(f"ranking/train/{name}.py" for name in ("trainer", "training", "command")),
    },
    "transformers": {
        "generation/embedded.py",
        "generation/weights.py",
        "eval/train/grounding_network.py",
        "ranking/train/networks.py",
        "ranking/train/trainer.py",
        "ranking/train/training.py",
    },
    "peft": {"eval/train/grounding_network.py", "ranking/train/networks.py"},
    "sentence_transformers": {
        "retrieval/torch_encoder.py",
        "retrieval/torch_graph.py",
        "ranking/train/trainer.py",
        "ranking/train/training.py",
    },
    "onnxruntime": {"retrieval/graphs.py"},
    "openvino": {"retrieval/openvino_graph.py"},
    "onnx": {
        "retrieval/openvino_graph.py",
        "retrieval/bert_graph.py",
        "retrieval/bert_checkpoint.py",
        "retrieval/onnx_weights.py",
    },
    "tokenizers": {"retrieval/tokens.py"},
    "faiss": {"retrieval/vector_graph.py", "retrieval/vector_ivf.py", "eval/bench/ann_peers.py"},
    "hnswlib": {"eval/bench/ann_peers.py"},
    "tantivy": {"retrieval/lexical.py", "retrieval/lexical_part.py"},
    "pyarrow": {
        "retrieval/columns.py",
        "retrieval/metadata_runs.py",
        "retrieval/metadata_writer.py",
        "indexing/items.py",
    },
    "rapidfuzz": {"retrieval/vocabulary.py"},
    "rensa": {"indexing/duplicates.py"},
    "docutils": {"indexing/formats/rst.py", "indexing/formats/rst_nodes.py", "indexing/formats/rst_vocabulary.py"},
    "gguf": set(),
    "huggingface_hub": {"services/model_sources.py"},
    "ir_measures": {"eval/retrieval_metrics.py"},
    "lightgbm": {"ranking/ltr.py", "ranking/train/trees.py"},
    "ragas": {"eval/answer_metrics.py"},
    "openai": {"eval/judge.py"},
    "mcp": {"services/agent_tools.py"},
    "mcp_types": {"services/agent_tools.py"},
    "ir_datasets": {"eval/dataset_formats/catalogue.py"},
    "altair": {"eval/plots.py"},
    "vl_convert": {"eval/plots.py"},
    "streamlit": {
        f"eval/dashboard/{name}.py"
        for name in (
            "app",
            "source",
            "parts",
            "runs_page",
            "quality_page",
            "questions_page",
            "answers_page",
            "latency_page",
            "failures_page",
            "frontier_page",
            "usage_page",
            "live_page",
        )
    },
}
"""Heavy libraries and the modules that wrap them; a new wrapper is named here."""

MAX_LINES, MAX_FUNCTION_LINES = 300, 60

BINARY = {".png", ".pdf", ".docx", ".gz", ".parquet", ".ico", ".npz", ".safetensors"}


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@functools.cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@functools.cache
def _imported(path: Path) -> set[str]:
    """Top-level names of everything that a file imports, inside functions and for type checking too."""
    found: set[str] = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def _texts() -> Iterator[tuple[str, str]]:
    """Every text file of the repository that is ours, by name."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.is_file() and path.suffix not in BINARY:
            yield name, path.read_text(encoding="utf-8", errors="replace")


def _commands() -> Iterator[tuple[str, Any]]:
    """Every command as it is typed, groups left out."""

    def walk(words: str, command: Any) -> Iterator[tuple[str, Any]]:
        children = getattr(command, "commands", {})
        if not children:
            yield words, command
        for name, child in children.items():
            yield from walk(f"{words} {name}", child)

    yield from walk("riddle", typer.main.get_command(build_app()))


def test_imports_follow_the_layers() -> None:
    finished = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stdout


@pytest.mark.parametrize("library", HEAVY)
def test_a_heavy_library_is_imported_only_by_what_wraps_it(library: str) -> None:
    importers = {_name(path) for path in SOURCES if library in _imported(path)}
    assert importers <= HEAVY[library]


def test_only_the_settings_read_the_environment() -> None:
    readers = set()
    for path in PYTHON:
        for node in ast.walk(_tree(path)):
            by_attribute = isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv"}
            from_os = isinstance(node, ast.ImportFrom) and node.module == "os"
            by_name = from_os and any(alias.name in {"environ", "getenv"} for alias in node.names)  # type: ignore[attr-defined]
            if by_name or (by_attribute and ast.unparse(node.value) == "os"):  # type: ignore[attr-defined]
                readers.add(_name(path))
    assert readers <= {"services/settings.py"}


def test_no_file_names_a_path_of_one_machine() -> None:
    pattern = re.compile(r"""(?<![\w.}$*~)])/(?:work|root|home/\w+|tmp)/[\w.]""")
    ours = ((name, text) for name, text in _texts() if "Dockerfile" not in name)  # an image's paths are its own
    found = [f"{name}: {hit.group()}" for name, text in ours for hit in pattern.finditer(text)]
    assert found == []


def test_no_file_names_the_host_of_a_package_registry() -> None:
    hosts = ["pypi" + ".org", "python" + "hosted", "npm" + "js", "debian" + ".org", "conda" + ".anaconda"]
    assert [name for name, text in _texts() for host in hosts if host in text] == []


def test_every_module_says_what_it_knows() -> None:
    silent = [_name(path) for path in PYTHON if path.read_text().strip() and not ast.get_docstring(_tree(path))]
    assert silent == []


def test_modules_and_functions_stay_readable() -> None:
    long_modules = [_name(path) for path in SOURCES if len(path.read_text().splitlines()) > MAX_LINES]
    long_functions = [
        f"{_name(path)}:{node.lineno} {node.name}"
        for path in SOURCES
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno > MAX_FUNCTION_LINES
    ]
    assert (long_modules, long_functions) == ([], [])


def test_a_broad_except_raises_again_or_gives_its_reason() -> None:
    found = []
    for path in PYTHON:
        lines = path.read_text(encoding="utf-8").splitlines()
        for node in (each for each in ast.walk(_tree(path)) if isinstance(each, ast.ExceptHandler)):
            names = re.findall(r"\w+", ast.unparse(node.type)) if node.type else ["Exception"]
            if {"Exception", "BaseException"} & set(names) and not re.search(
                r"# (?:noqa: BLE001 - )?\w+ \w+", lines[node.lineno - 1]
            ):
                last = node.body[-1]
                if not (isinstance(last, ast.Raise) and last.exc is None):
                    found.append(f"{_name(path)}:{node.lineno}")
    assert found == []


def test_nothing_is_left_for_later() -> None:
    words = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|X" r"XX)\b")
    assert [name for name, text in _texts() if not name.startswith("eval/bench/") and words.search(text)] == []


def test_tests_replace_collaborators_through_seams() -> None:
    patching = re.compile(r"unittest" r"\.mock|monkeypatch" r"\.setattr|mocker" r"\.")
    assert [_name(path) for path in (ROOT / "tests").rglob("*.py") if patching.search(path.read_text())] == []


def test_our_names_are_ours_alone() -> None:
    owners = importlib.metadata.packages_distributions()
    clashes = {name: owners[name] for name in PACKAGES if set(owners.get(name, [])) - {"riddle-search"}}
    assert clashes == {}
    assert not set(PACKAGES) & sys.stdlib_module_names
    for name in (*PACKAGES, "tests"):
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        assert Path(spec.origin).is_relative_to(ROOT), f"{name} is imported from {spec.origin}"


def test_every_setting_says_what_it_is_for() -> None:
    assert [key for key, note in described().items() if not note] == []


def test_the_readme_documents_every_setting() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [key for key, setting in known().items() if f"`{key}`" not in readme or setting.env[-1] not in readme]
    assert missing + [name for name in NOT_SETTINGS if name not in readme] == []


def test_the_readme_documents_every_command() -> None:
    """`riddle GROUP` stands in a row of the table, and the words of that row name the group's commands."""
    rows = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    missing = []
    for words, _ in _commands():
        _, command, *rest = words.split()
        row = next((row for row in rows if row.startswith(f"| `riddle {command}`")), "")
        if not row or not set(rest) <= set(re.findall(r"[\w-]+", row)):
            missing.append(words)
    assert missing == []


def test_every_command_shows_an_example() -> None:
    assert [words for words, command in _commands() if "Example" not in (command.help or "")] == []


def test_help_loads_no_heavy_library() -> None:
    heavy = sorted((HEAVY.keys() | {"numpy", "fastapi", "httpx", "redis"}) - {"ir_measures"})
    code = f"""if True:
        import sys
        from services.cli import build_app
        build_app()
        print([name for name in {heavy!r} if name in sys.modules])"""
    finished = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "[]"


def test_no_library_writes_outside_or_reports_to_its_maker(tmp_path: Path) -> None:
    """onnxruntime and OpenVINO leave an identifier below the home folder, and send events, unless told not to."""
    code = """if True:
        from pathlib import Path
        from services.commands.common import load_settings
        load_settings(Path("home"), None)
        import onnxruntime, openvino, tokenizers, tantivy, hnswlib, eval.answer_metrics"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={"HOME": str(tmp_path)}, check=True)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []
