"""Puts a trained adapter where Riddle ships it: the file, its card, and its line in the list of models, in one go.

``python -m ranking.train.card --adapter en-spread.safetensors --results results.json --name riddle-reranker-en``

``results.json`` is what `python -m benchmarks.rerankers_gpu run` leaves; the variant is the adapter's name unless
``--variant`` names it. Then ``riddle models pull NAME`` makes the model. What stands in README.md below the line
``KEPT`` is written by hand, and stays when this is run again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ranking.train.card_text import LICENCES, Shipped, Trained, readme
from ranking.train.lists import read_lists
from retrieval.errors import InvalidRequest, ModelMissing
from retrieval.lora import Adapter
from retrieval.merged_reranker import LANGUAGES
from retrieval.models import sha256

ADAPTER, CARD, README = "adapter.safetensors", "card.json", "README.md"
KEPT = "<!-- below: written by hand -->"
MOST_BYTES = 10_000_000
"""Of an adapter in the repository."""

SHIPPED: Mapping[str, Shipped] = {
    "riddle-reranker-en": Shipped(
        "english",
        "ms-marco-minilm-l12-v2",
        "Apache-2.0",
        70_300_000,
        "A cross-encoder for English with half of its teacher's layers: it reads twice as many passages in a time.",
        "English",
        ("squad", "medquad", "nl2bash-tldr", "scifact"),
    ),
    "riddle-reranker-bilingual": Shipped(
        "bilingual",
        "multilingual-e5-small",
        "MIT",
        364_800_000,
        "A cross-encoder for English and Chinese, questions and passages in either.",
        "English and Chinese",
        ("squad", "medquad", "nl2bash-tldr", "scifact", "cmrc2018", "law-zh-stard", "python"),
    ),
}


def ship(name: str, adapter: Path, services: Path, results: Path | None = None, variant: str = "",
         lists: Path | None = None, machine: str = "") -> None:  # fmt: skip
    """Write ``adapters/NAME`` and the entry of ``models.toml`` below ``services``.

    ``lists`` are counted for the card. Raises InvalidRequest when the adapter is not of this model, too large, or the
    results do not know the variant.
    """
    said = SHIPPED.get(name)
    if said is None:
        raise InvalidRequest(f"there is no reranker {name}; there are {' and '.join(SHIPPED)}")
    try:
        about = Adapter(adapter).about
    except ModelMissing as error:
        raise InvalidRequest(error.detail) from None
    if about.get("student") != said.student:
        raise InvalidRequest(f"{adapter} was trained as {about.get('student')!r}, and {name} is {said.student}")
    if adapter.stat().st_size > MOST_BYTES:
        raise InvalidRequest(f"{adapter} has {adapter.stat().st_size:,} bytes; at most {MOST_BYTES:,} are kept here")
    found = _trained(about, results, variant or adapter.stem)
    folder = services / "adapters" / name
    folder.mkdir(parents=True, exist_ok=True)
    if adapter.resolve() != (folder / ADAPTER).resolve():
        shutil.copyfile(adapter, folder / ADAPTER)
    file = {"name": ADAPTER, "bytes": (folder / ADAPTER).stat().st_size, "sha256": sha256(folder / ADAPTER)}
    counts = _counts(lists, LANGUAGES[said.student])
    card = {
        "name": name, "base": said.base, "file": file, "variant": variant or adapter.stem, "steps": found.steps,
        "dev": {"student": found.dev, "recall": found.recall, "teacher": found.teacher}, "plan": found.plan,
        "lists": counts, "machine": machine, "commit": _commit(),
        "licences": {said.base: said.base_licence, **{each: LICENCES[each] for each in said.trained_on}},
    }  # fmt: skip
    (folder / CARD).write_text(json.dumps(card, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    (folder / README).write_text(readme(name, said, found, card) + _by_hand(folder / README), encoding="utf-8")
    registry = services / "models.toml"
    registry.write_text(entered(registry.read_text(encoding="utf-8"), name, file), encoding="utf-8")


def entered(registry: str, name: str, file: Mapping[str, object]) -> str:
    """The text of models.toml with the entry of ``name``, in the place of the one that it had or else at the end."""
    said = SHIPPED[name]
    base = next(each for each in tomllib.loads(registry)["model"] if each["name"] == said.base)
    languages = ", ".join(f'"{each}"' for each in LANGUAGES[said.student])
    block = f"""[[model]]
name = "{name}"
hub = ""
revision = ""
licence = "CC-BY-SA-4.0"
kind = "reranker"
form = "safetensors in half precision and ONNX int8, made here of its base and a LoRA adapter"
max_tokens = 512
pooling = "none"
query_prefix = ""
passage_prefix = ""
languages = [{languages}]
wheel = "{base["wheel"]}"
wheel_bytes = 0
inside = ""
base = "{said.base}"
convert = "reranker"
converted_bytes = {said.bytes}
files = [
    {{ name = "{file["name"]}", bytes = {file["bytes"]}, sha256 = "{file["sha256"]}" }},
]
"""
    lines = registry.rstrip("\n").splitlines()
    if f'name = "{name}"' not in lines:
        return "\n".join([*lines, "", block])
    begin = lines.index(f'name = "{name}"') - 1
    end = lines.index("]", begin)
    return "\n".join([*lines[:begin], block.rstrip("\n"), *lines[end + 1 :], ""])


def _trained(about: Mapping[str, Any], results: Path | None, variant: str) -> Trained:
    layers = [int(layer) for layer in about["layers"]]
    if results is None:
        return Trained(about.get("dev", {}), {}, {}, {}, int(about["step"]), layers)
    try:
        said = json.loads(results.read_text(encoding="utf-8"))
        own, beaten = said[variant], said["to beat"]
        dev, plan = own["dev"], own["plan"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidRequest(f"{results} holds no results of {variant}: {error}") from None
    return Trained(dev, beaten["recall"], beaten.get("teacher", {}), plan, int(about["step"]), layers)


def _counts(path: Path | None, languages: Sequence[str]) -> Mapping[str, int]:
    """Train lists of each source that a student of these languages reads."""
    if path is None:
        return {}
    # Those across languages are read by who reads several.
    wanted = [*languages, "*"] if len(languages) > 1 else languages
    return dict(sorted(Counter(each.source for each in read_lists(path).of("train", wanted)).items()))


def _commit() -> str:
    """Empty where the sources are in no repository of git."""
    here = Path(__file__).parent
    said = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False, cwd=here)
    return said.stdout.strip()


def _by_hand(path: Path) -> str:
    """What was written by hand below the line of ``KEPT``, with it."""
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    return f"\n{KEPT}{before.partition(KEPT)[2] or chr(10)}"


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m ranking.train.card", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--adapter", type=Path, required=True)
    parser.add_argument("--name", choices=list(SHIPPED), required=True)
    parser.add_argument("--results", type=Path, help="figures and plan; without them the card has what the file says")
    parser.add_argument("--variant", default="", help="of the results; by default the adapter's name")
    parser.add_argument("--lists", type=Path, help="that were trained on, to be counted")
    parser.add_argument("--machine", default="", help="that trained, for the card")
    parser.add_argument("--services", type=Path, default=Path("services"), help="the folder with models.toml")
    said = parser.parse_args(arguments)
    try:
        ship(said.name, said.adapter, said.services, said.results, said.variant, said.lists, said.machine)
    except InvalidRequest as error:
        parser.exit(1, f"{error.detail}\n")
    print(f"{said.services / 'adapters' / said.name} and {said.services / 'models.toml'} are written: "
          f"riddle models pull {said.name}")  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
