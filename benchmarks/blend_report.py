"""Studies what ``blend_study`` collected, and fits the defaults of blend and calibration to it.

    python -m benchmarks.blend_report --out FOLDER [--write]

Each set is read by the student of its language; what other models said of it gives their usual scales.
Every figure of a set comes from blends and calibrations that were fitted without that set, unless it says otherwise.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.blend_study import ALL, SETS, kept, scores_file
from eval.retrieval_metrics import evaluate_by_query
from eval.stages import as_run, best_passages
from eval.statistics import mean_intervals, sign_flip
from eval.tuning import METRIC, SIGNS, WEIGHTS, Asked, decide
from ranking import tuned as tuned_module
from ranking.blend import Blend, Judged, learn, usual_scales
from ranking.calibration import Calibration, calibration_error, fit_calibration, reliability
from ranking.query_signs import SIGNS as NAMES
from ranking.query_signs import query_signs
from ranking.stage_table import BLENDED, FEW, Floats, Scale, StageTable, sigmoid
from ranking.tuned import Tuned, as_rung, rung_of
from retrieval.durable import replace_json
from retrieval.fusion import fuse
from retrieval.types import Hits

START = 0.5
"""Where the weights of the pooled fit begin; with some hundred queries it decides nothing."""

UNMEASURED: Mapping[str, float] = {"ltr": 1.0}
"""A stage that these sets have not run. Trees are in force only where their gain was proven on the collection."""

POOL_SPREAD, SLOPES = 1.0, (0.0, 0.05, 0.1, 0.2)
SHIPPED_SLOPE, SHIPPED_SIGNS = 0.0, True
"""What is shipped: on sets left out slopes were worth nothing, and signs halved the calibration's error on some."""

AWAY = 0.25
_WITHOUT_RERANK = tuple(name for name in BLENDED if name != "rerank")

WINDOW = 48
"""Tokens of a passage that are read, as `rank.window_tokens` has it."""

Order = Callable[[StageTable], Floats]


def load(out: Path, suffix: str = "") -> dict[str, list[Asked]]:
    """What was collected, by set."""
    found = {}
    for path in sorted(out.glob(f"*{suffix}.json.gz")):
        name = path.name.removesuffix(".json.gz").removesuffix(suffix)
        if "." in name:
            continue
        with gzip.open(path, "rt", encoding="utf-8") as file:
            told = json.load(file)
        found[name] = [
            Asked(
                each["id"],
                StageTable(
                    each["query"],
                    tuple(each["names"]),
                    np.array(each["scores"], np.float64).reshape(len(each["documents"]), len(each["names"])),
                ),
                tuple(each["documents"]),
                told["qrels"].get(each["id"], {}),
            )
            for each in told["queries"]
        ]
    return found


def scored(out: Path, window: int = WINDOW) -> dict[str, list[Asked]]:
    """The sets that blends are fitted to, with what the student of their language says of every candidate."""
    return {
        name: with_model(asked, kept(scores_file(out, name, SETS[name].reranker, window)))
        for name, asked in load(out).items()
        if name in SETS
    }


def with_model(asked: Sequence[Asked], scores: Mapping[str, Sequence[float]]) -> list[Asked]:
    """The same queries, their candidates read by a cross-encoder."""
    found = []
    for each in asked:
        column = np.full(len(each.table), np.nan)
        logits = scores[each.query_id]
        column[: len(logits)] = logits
        table = each.table.only([name for name in each.table.names if name != "rerank"])
        joined = StageTable(table.query, (*table.names, "rerank"), np.column_stack([table.scores, column]))
        found.append(replace(each, table=joined))
    return found


def measured(asked: Sequence[Asked], scores: Order) -> Floats:
    """nDCG@10 of each query in the order of ``scores``."""
    run = {}
    for each in asked:
        order = np.argsort(-scores(each.table), kind="stable").tolist()
        run[each.query_id] = as_run(best_passages((each.documents[place], 0.0) for place in order))
    found = evaluate_by_query({each.query_id: dict(each.grades) for each in asked}, run, [METRIC])[METRIC]
    return np.array([found[each.query_id] for each in asked])


def stage(name: str) -> Order:
    """One stage alone; what it did not see stays behind."""
    return lambda table: np.nan_to_num(table.of(name), nan=-1e9)


def fused(method: str, normalisation: str = "min-max") -> Order:
    """Both channels, fused in another way."""

    def scores(table: StageTable) -> Floats:
        channels = {}
        for name in ("lexical", "dense"):
            column = table.of(name)
            rows = np.flatnonzero(np.isfinite(column))
            rows = rows[np.argsort(-column[rows], kind="stable")]
            channels[name] = Hits(rows.astype(np.int64), column[rows].astype(np.float32))
        hits = fuse(channels, method, normalisation=normalisation)  # type: ignore[arg-type]
        found = np.zeros(len(table))
        found[hits.rows] = hits.scores
        return found

    return scores


def pooled(sets: Mapping[str, Sequence[Asked]], slope_spread: float = 0.0) -> Blend:
    """One blend for all of these sets; a stage that none of them ran weighs nothing until it was measured."""
    every = [each for asked in sets.values() for each in asked]
    ran = [stage for stage in BLENDED if any(stage in each.table.names for each in every)]
    start = Blend(dict.fromkeys(ran, START), {}, usual_scales([each.table for each in every]))
    # Twice, since what is discounted is the rank that the blend itself gives.
    first = learn([each.judged(start.order(each.table)) for each in every], start, weight_spread=POOL_SPREAD)
    judged = [each.judged(first.order(each.table)) for each in every]
    return learn(judged, start, weight_spread=POOL_SPREAD, slope_spread=slope_spread)


def shipped(sets: Mapping[str, Sequence[Asked]]) -> Blend:
    """The pooled blend, drawn by ``AWAY`` towards one that was fitted without the cross-encoder.

    Our students were trained on train parts of these very sets: elsewhere they deserve less trust than here.
    """
    home = pooled(sets, SHIPPED_SLOPE)
    unread = {
        name: [replace(each, table=each.table.only(_WITHOUT_RERANK)) for each in asked] for name, asked in sets.items()
    }
    away = pooled(unread, SHIPPED_SLOPE)
    mixed = {name: (1 - AWAY) * weight + AWAY * away.weights.get(name, 0.0) for name, weight in home.weights.items()}
    return replace(home, weights=mixed)


def judged(asked: Sequence[Asked], blend: Blend) -> list[Judged]:
    """For learning, documents in the order that ``blend`` gives them."""
    return [each.judged(blend.order(each.table)) for each in asked]


def without(sets: Mapping[str, Sequence[Asked]], name: str) -> dict[str, Sequence[Asked]]:
    return {other: asked for other, asked in sets.items() if other != name}


def compare(sets: Mapping[str, Sequence[Asked]]) -> None:
    """Table 1: stages, fusions and blends, set by set; then all queries together against the strongest plain ways."""
    ways: dict[str, dict[str, Floats]] = {}
    for name, asked in sets.items():
        row = {each: measured(asked, stage(each)) for each in ("lexical", "dense", "fused")}
        row |= {"min-max": measured(asked, fused("weighted")), "z": measured(asked, fused("weighted", "z"))}
        row["dbsf"] = measured(asked, fused("dbsf"))
        row["rerank"] = measured(asked, stage("rerank")) if "rerank" in asked[0].table.names else row["fused"]
        for spread in SLOPES:
            row[f"blend {spread:g}"] = measured(asked, pooled(without(sets, name), spread).scores)
        ways[name] = row
        print(f"{name:<9}{len(asked):4} " + "  ".join(f"{way} {values.mean():.3f}" for way, values in row.items()))
    blends = [f"blend {spread:g}" for spread in SLOPES]
    for way in ("min-max", "z", "dbsf"):
        gains = np.concatenate([row[way] - row["fused"] for row in ways.values()])
        print(f"{way} against fused: {gains.mean():+.4f} p {float(sign_flip(gains)[0]):.4f}")
    for against in ("lexical", "dense", "fused", "rerank"):
        for blend in blends:
            gains = np.concatenate([row[blend] - row[against] for row in ways.values()])
            low, high = mean_intervals(gains)[0]
            p = float(sign_flip(gains)[0])
            print(f"{blend} against {against}: {gains.mean():+.4f} ({low:+.4f} to {high:+.4f}) p {p:.4f}")
    for name, row in ways.items():
        best = max(("lexical", "dense", "fused", "rerank"), key=lambda way: row[way].mean())
        for blend in blends:
            gains = row[blend] - row[best]
            print(f"  {name}: {blend} against its best, {best}: {gains.mean():+.4f} p {float(sign_flip(gains)[0]):.3f}")


def curve(sets: Mapping[str, Sequence[Asked]], repeats: int = 10) -> None:
    """Table 2: what so many judgements of a set bring beyond the default, on the rest of the set."""
    for name, asked in sets.items():
        default = pooled(without(sets, name), SHIPPED_SLOPE)
        base = dict(zip((each.query_id for each in asked), measured(asked, default.scores), strict=True))
        told = []
        for count in (5, 10, 20, 40):
            gains = []
            for seed in range(repeats):
                drawn = random.Random(seed).sample(list(asked), min(count, len(asked) // 2))
                rest = [each for each in asked if each not in drawn]
                values = measured(rest, learn(judged(drawn, default), default).scores)
                gains.append(float(values.mean()) - float(np.mean([base[each.query_id] for each in rest])))
            told.append(f"{count}: {np.mean(gains):+.4f} (sd {np.std(gains):.4f})")
        verdict = decide(asked, default)
        tried = {each.name: each for each in verdict.trials}
        told += [f"{way} {tried[way].gain:+.4f} p {tried[way].p:.3f}" for way in (WEIGHTS, SIGNS)]
        print(f"{name:<9}" + "  ".join(told) + f"  adopted {verdict.adopted or 'nothing'}, needed {verdict.needed}")


def itself(sets: Mapping[str, Sequence[Asked]], known: Mapping[str, Sequence[Asked]]) -> None:
    """Table 3: what a collection shows of itself against what judgements say of it."""
    for name in sorted(set(sets) & set(known)):
        stages = [each for each in ("lexical", "dense", "fused", "rerank") if each in sets[name][0].table.names]
        found = [each for each in known[name] if any(grade for grade in each.grades.values()) and len(each.table)]
        shown = {each: measured(found, stage(each)).mean() for each in stages}
        real = {each: measured(sets[name], stage(each)).mean() for each in stages}
        default = pooled(without(sets, name), SHIPPED_SLOPE)
        plain = measured(sets[name], default.scores)
        told = []
        for spread in (0.1, 0.2, 0.5):
            learned = learn(judged(found, default), default, weight_spread=spread)
            told.append(f"{spread:g}: {(measured(sets[name], learned.scores) - plain).mean():+.4f}")
        print(f"{name:<9}{len(found)} items; shown / judged: "
              + "  ".join(f"{each} {shown[each]:.3f} / {real[each]:.3f}" for each in stages)
              + "  learned from items: " + "  ".join(told))  # fmt: skip


def fitted(sets: Mapping[str, Sequence[Asked]], blend: Blend, rung: str, *, signs: bool = True) -> Calibration:
    """The calibration of a rung over these sets."""
    lists = [each for asked in sets.values() for each in judged(asked, blend)]
    lists = [each for each in lists if rung_of(as_rung(each.table, rung)) == rung]
    tables = [as_rung(each.table, rung) for each in lists]
    known = [np.isfinite(each.gains) for each in lists]
    return fit_calibration(
        rung,
        [blend.scores(table)[some] for table, some in zip(tables, known, strict=True)],
        [(each.gains[some] > 0).astype(np.float64) for each, some in zip(lists, known, strict=True)],
        [query_signs(table) for table in tables] if signs else None,
        blend.scales,
    )


def calibrated(sets: Mapping[str, Sequence[Asked]]) -> None:
    """Table 4: the error of probabilities on a set that neither blend nor calibration has seen."""
    for rung in ("rerank", "fused"):
        for name, asked in sets.items():
            if rung_of(as_rung(asked[0].table, rung)) != rung:
                continue
            rest = without(sets, name)
            if not any(rung in each.table.names for asked in rest.values() for each in asked):
                continue
            blend = pooled(rest, SHIPPED_SLOPE)
            lists, told = judged(asked, blend), []
            for label, signs in (("score", False), ("score and signs", True)):
                found = fitted(rest, blend, rung, signs=signs)
                promised, kept, top_promised, top_kept = _promises(lists, blend, rung, found)
                told.append(
                    f"{label}: all {calibration_error(promised, kept):.4f}, first ten "
                    f"{calibration_error(top_promised, top_kept):.3f}"
                )
            raw = ""
            if rung == "rerank":
                logits = np.concatenate([each.table.of("rerank") for each in lists])
                seen = np.isfinite(logits)
                gains = np.concatenate([each.gains > 0 for each in lists])[seen].astype(np.float64)
                raw = f"; the model's own sigmoid: all {calibration_error(sigmoid(logits[seen]), gains):.4f}"
            print(f"{rung:<7}{name:<9}" + "; ".join(told) + raw)
            points = reliability(top_promised, top_kept)
            told = [f"{each.promised:.2f}/{each.kept:.2f} ({each.count})" for each in points]
            print("   first ten, promised / kept: " + "  ".join(told))


def _promises(
    lists: Sequence[Judged], blend: Blend, rung: str, found: Calibration
) -> tuple[Floats, Floats, Floats, Floats]:
    """Probabilities and relevance of all candidates, and of each query's first ten."""
    every: list[tuple[Floats, Floats]] = []
    heads: list[tuple[Floats, Floats]] = []
    for each in lists:
        table = as_rung(each.table, rung)
        known = np.isfinite(each.gains)
        gains = each.gains[known] > 0
        scores = blend.scores(table)[known]
        told = found.probabilities(scores, query_signs(table))
        head = np.argsort(-scores, kind="stable")[:10]
        every.append((told, gains.astype(np.float64)))
        heads.append((told[head], gains[head].astype(np.float64)))
    promised, kept = (np.concatenate(part) for part in zip(*every, strict=True))
    top_promised, top_kept = (np.concatenate(part) for part in zip(*heads, strict=True))
    return promised, kept, top_promised, top_kept


def reading(sets: Mapping[str, Sequence[Asked]]) -> None:
    """Table 5: what reading so many passages brings over the fused order.

    The first of the fused order or of the blend's own, by what the read ones show or by what is usual of the model.
    """
    gains: dict[tuple[str, int], list[Floats]] = {}
    for name, asked in sets.items():
        if "rerank" not in asked[0].table.names:
            continue
        rest = without(sets, name)
        told = Tuned(pooled(rest, SHIPPED_SLOPE), (), usual(rest))
        scales = told.usual_of({"rerank": SETS[name].reranker})
        base = measured(asked, stage("fused"))
        for depth in (0, 5, 10, 20, 30, 50, 100):
            for label, order, known in (
                ("fused head", lambda table: np.argsort(-stage("fused")(table), kind="stable").tolist(), {}),
                ("blend head", _head(told), {}),
                ("blend head, usual", _head(told), scales),
            ):
                cut = [replace(each, table=_read(each.table, order(each.table)[depth:])) for each in asked]
                found = measured(cut, lambda table, known=known, told=told: told.blend.scores(table, known))  # type: ignore[misc]
                gains.setdefault((label, depth), []).append(found - base)
    for (label, depth), values in gains.items():
        each = "  ".join(f"{part.mean():+.4f}" for part in values)
        print(f"{label:<18} {depth:>3}: {np.concatenate(values).mean():+.4f}   by set {each}")


def _head(told: Tuned) -> Callable[[StageTable], list[int]]:
    return lambda table: told.reading_order(table)[0]


def _read(table: StageTable, unread: Sequence[int]) -> StageTable:
    """As if these places had not been read."""
    scores = table.scores.copy()
    scores[list(unread), table.names.index("rerank")] = np.nan
    return StageTable(table.query, table.names, scores)


def write(sets: Mapping[str, Sequence[Asked]], others: Mapping[str, Scale]) -> None:
    """Fit the defaults to all sets, and put them where ``ranking.tuned`` reads them; ``others`` are usual scales."""
    before = tuned_module.defaults()  # models that were not run again keep their usual scales
    fitted_blend = shipped(sets)
    guessed = {name: weight for name, weight in UNMEASURED.items() if name not in fitted_blend.weights}
    blend = _rounded(replace(fitted_blend, weights={**fitted_blend.weights, **guessed}))
    rungs = [rung for rung in ("rerank", "late", "ltr", "fused") if any(
        rung_of(as_rung(each.table, rung)) == rung for asked in sets.values() for each in asked)]  # fmt: skip
    evidence = {
        "kind": "judgements of several collections",
        "queries": {name: len(asked) for name, asked in sets.items()},
        "created": datetime.now(UTC).date().isoformat(),
    }
    calibrations = tuple(fitted(sets, blend, rung, signs=SHIPPED_SIGNS) for rung in rungs)
    told = Tuned(blend, calibrations, {**before.usual, **others, **usual(sets)}, evidence)
    path = Path(tuned_module.__file__).with_name("tuned.json")
    replace_json(path, Tuned.from_json(json.loads(json.dumps(told.as_json()), parse_float=_short)).as_json())
    print(f"{path}: version {told.version}, weights {blend.weights}")
    for name, slopes in blend.slopes.items():
        print(f"  {name}: " + "  ".join(f"{sign} {slopes[sign]:+.3f}" for sign in NAMES))


def usual_of_others(out: Path, window: int = WINDOW) -> dict[str, Scale]:
    """The usual scales of models that are no set's own, over the sets that they have read."""
    found: dict[str, list[tuple[float, float]]] = {}
    for name, asked in load(out).items():
        for path in (out / "scores").glob(f"{name}.*.{window}.json.gz"):
            model = path.name.removeprefix(f"{name}.").removesuffix(f".{window}.json.gz")
            if name in SETS and model != SETS[name].reranker:
                found.setdefault(f"rerank {model}", []).extend(_scales(with_model(asked, kept(path)), "rerank"))
    return {key: Scale(*map(float, np.mean(rows, axis=0))) for key, rows in found.items() if rows}


def _scales(asked: Sequence[Asked], name: str) -> list[tuple[float, float]]:
    """The mean over a set's queries of the mean and spread of what a stage gave; empty where it says too little."""
    columns = [each.table.of(name) for each in asked if name in each.table.names]
    columns = [column[np.isfinite(column)] for column in columns]
    rows = [(float(column.mean()), float(column.std())) for column in columns if len(column) >= FEW]
    if not rows:
        return []
    mean, spread = np.mean(rows, axis=0)
    return [(float(mean), float(spread))]


def usual(sets: Mapping[str, Sequence[Asked]]) -> dict[str, Scale]:
    """Mean and spread of candidates' scores by stage and model: of each query, then of a set, then of sets."""
    found: dict[str, list[tuple[float, float]]] = {}
    for name, asked in sets.items():
        for stage_name, model in (("dense", ALL[name].encoder), ("rerank", ALL[name].reranker)):
            found.setdefault(f"{stage_name} {model}", []).extend(_scales(asked, stage_name))
    return {key: Scale(*map(float, np.mean(rows, axis=0))) for key, rows in found.items() if rows}


def _rounded(blend: Blend) -> Blend:
    return Blend.from_json(json.loads(json.dumps(blend.as_json()), parse_float=_short))


def _short(text: str) -> float:
    return round(float(text), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--write", action="store_true", help="fit the defaults and write them")
    asked = parser.parse_args()
    sets = scored(asked.out)
    print("1. ways to rank, nDCG@10; blends learned from the other sets, by how freely signs move them")
    compare(sets)
    print("2. what judgements of the set itself bring beyond that")
    curve(sets)
    print("3. what the collection shows of itself")
    itself(sets, load(asked.out, ".known"))
    print("4. calibration error")
    calibrated(sets)
    print("5. reading less")
    reading(sets)
    if asked.write:
        write(sets, usual_of_others(asked.out))


if __name__ == "__main__":
    main()
