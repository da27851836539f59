"""The words of a shipped reranker's README.md: what it is, its figures beside what there is to beat, data, licences."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

LICENCES = {
    "scifact": "CC BY 4.0 (claims, judgements), ODC-By 1.0 (abstracts)",
    "squad": "CC BY-SA 4.0",
    "cmrc2018": "CC BY-SA 4.0",
    "law-zh-stard": "MIT",
    "nl2bash-tldr": "MIT, CC BY 4.0",
    "medquad": "CC BY 4.0",
    "python": "PSF (Python's documentation in English and Chinese)",
}
"""Of what was trained on, by source; none of its text is in an adapter."""


@dataclass(frozen=True, slots=True)
class Shipped:
    """What of a reranker its training does not say. ``bytes`` are those of its folder once it is made."""

    student: str
    base: str
    base_licence: str
    bytes: int
    about: str
    languages: str
    trained_on: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Trained:
    """One run: nDCG@10 on the dev lists by source of the student, of recall's order and of the teacher, and the
    plan; empty where nothing is known of it."""

    dev: Mapping[str, float]
    recall: Mapping[str, float]
    teacher: Mapping[str, float]
    plan: Mapping[str, Any]
    steps: int
    layers: Sequence[int]


def sources(found: Trained) -> list[str]:
    """Sets that the student is judged on: parts of those that it was trained on."""
    return [each for each in found.dev if each in LICENCES]


def readme(name: str, said: Shipped, found: Trained, card: Mapping[str, Any]) -> str:
    """All of it; ``card`` is what stands in card.json."""
    layers = f"takes its layers {', '.join(map(str, found.layers))} (from 0)" if said.student == "english" else ""
    made = ", ".join(each for each in (f"pulls its base `{said.base}`", layers, "adds the two up") if each)
    what = _filled(
        f"`adapter.safetensors` ({card['file']['bytes'] / 1e6:.1f} MB, float16) holds {_lora(found)} and the whole "
        f"head. `riddle models pull {name}` {made}, and writes a folder ({said.bytes / 1e6:.0f} MB) that our own "
        "kernel, onnxruntime, OpenVINO, sentence-transformers and transformers run; "
        f'`models.reranker = "{name}"` has searches use it. Scores are logits, and a pair\'s does not hang on what is '
        "scored beside it. `card.json` has plan, counts and sha256."
    )
    how = _filled(
        "Distilled from ms-marco-MiniLM-L-12-v2: its margins (margin-MSE), its order of each list (ListNet), and the "
        f"judgements. Hard negatives are our own recall's.{_translated(said)} {_how(found, card)}"
    )
    return f"""# {name}

{_filled(said.about)}

{what}

## Figures

nDCG@10 over the first 40 documents of recall, of questions that are held apart from the train parts by a hash of
their article, disease or id; a question whose documents recall missed counts 0. The run was chosen by these figures,
so they are not the final check.

{_table(found)}{_worse(found)}
## Training

{how}

```
{_recipe(name, card["variant"])}
```

docs/training.md says how to train one on judgements of your own.

## What it is not good at

- Languages other than {said.languages}.
- Long passages: pairs were read up to 256 tokens in training, and of longer ones nothing is known.
- Text unlike that of its sets ({", ".join(said.trained_on)}): let `riddle tune` say how far to trust it there.

## Licences

{_licences(card["licences"])}
No text of the sets is in the adapter. It is given under CC BY-SA 4.0, to be safe, since some of them are share-alike.
"""


def _filled(text: str) -> str:
    return textwrap.fill(text, 119, break_long_words=False, break_on_hyphens=False)


def _translated(said: Shipped) -> str:
    if said.student == "english":
        return ""
    return " Chinese questions about Python have the teacher's opinion of their English originals."


def _recipe(name: str, variant: str) -> str:
    return f"""python -m ranking.train.make_lists --data ../shared/data --home .riddle --out lists.jsonl.gz
python -m benchmarks.rerankers_gpu pack --lists lists.jsonl.gz --teacher .riddle/models/ms-marco-minilm-l12-v2 \\
    --e5 e5-small-q4.bin --out PACK
python -m benchmarks.rerankers_gpu run --pack PACK --out RUN       # on the machine with the GPU
python -m ranking.train.card --adapter RUN/{variant}.safetensors --results RUN/results.json --name {name}"""


def _lora(found: Trained) -> str:
    lora = found.plan.get("lora")
    shape = f" of rank {lora['rank']} (alpha {lora['alpha']})" if lora else ""
    return f"low-rank changes{shape} of all linear layers"


def _table(found: Trained) -> str:
    columns = {"order of recall": found.recall, "teacher, 12 layers": found.teacher, "this model": found.dev}
    held = {name: values for name, values in columns.items() if values}
    names = sources(found)
    rows = [[name, *(_figure(values.get(name)) for values in held.values())] for name in names]
    means = [
        _figure(fmean(values[name] for name in names) if names and set(names) <= set(values) else None)
        for values in held.values()
    ]
    whole = [["set", *held], ["---"] * (1 + len(held)), *rows, ["**mean of the sets**", *means]]
    return "".join(f"| {' | '.join(row)} |\n" for row in whole)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _worse(found: Trained) -> str:
    lost = [each for each in sources(found) if each in found.recall and found.dev[each] < found.recall[each]]
    return f"\nIt is worse than recall's own order on {' and '.join(lost)}.\n" if lost else ""


def _how(found: Trained, card: Mapping[str, Any]) -> str:
    plan = found.plan
    if not plan:
        return f"{found.steps} steps."
    weights, reading = plan["weights"], plan["reading"]
    where = f" on one {card['machine']}" if card["machine"] else ""
    lists = f"{sum(card['lists'].values()):,} train lists; " if card["lists"] else ""
    often = [f"{name} {times} times" for name, times in plan.get("repeats", {}).items() if times > 1]
    again = f"; in an epoch {' and '.join(often)}, with other passages each" if often else ""
    return (
        f"{lists}{found.steps} steps of {plan['lists'] * plan['accumulate']} lists with {reading['passages']} "
        f"passages each, pairs of at most {reading['tokens']} tokens{where}; rate {plan['rate']:g}, dropout "
        f"{plan['dropout']:g}, seed {plan['seed']}; weights of the three parts {weights['margin']:g}, "
        f"{weights['order']:g} and {weights['judged']:g}{again}."
    )


def _licences(licences: Mapping[str, str]) -> str:
    rows = [f"| {name} | {licence} |" for name, licence in licences.items()]
    return "\n".join(["| base and data | licence |", "|---|---|", *rows]) + "\n"
