"""Trains Riddle's rerankers on a GPU host without a network, in one go: packs what travels, unpacks, scores, trains.

Here, where models and lists are (`python -m ranking.train.make_lists` makes the lists)::

    python -m benchmarks.rerankers_gpu pack --lists lists.jsonl.gz --teacher .riddle/models/ms-marco-minilm-l12-v2 \
        --e5 e5-small-q4.bin --out .gpu6

There, from the root of the repository: ``python3 -m benchmarks.rerankers_gpu run --pack .gpu6 --out $OUT --minutes 9``.
Adapters, journals, the teacher's scores and ``results.json`` come back. Every variant is a process of its own, on the
GPUs in turn. Where a command may not run so long, start it in a session of its own and look for ``results.json``.
"""

from __future__ import annotations

import argparse
import gzip
import json
import lzma
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ranking.train.batches import Reading
from ranking.train.lists import Lists, RankedList, read_lists, write_lists
from ranking.train.losses import Weights
from ranking.train.networks import LoraShape
from ranking.train.training import ADAPTER, JOURNAL, Plan, open_student, pace, train

TEACHER, E5, LISTS = "teacher", "e5", "lists.jsonl.xz"
_Q4, _ONNX, _TOKENIZER, _ABOUT = "e5-small-q4.bin", "model.onnx", "tokenizer.json", "tokenizer_config.json"
_KEPT = 300
"""Token ids from 0 whose rows always travel: special tokens, punctuation and single letters."""

TRAIN_PASSAGES = 13
"""Of a train list that travel: the relevant ones, then the hardest."""

_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9, "lc": 0, "lp": 0, "pb": 0}]
"""Weights are noise but for their distribution: no context helps."""

ENGLISH = Plan("english", 1, rate=4e-4, lora=LoraShape(96, 96), repeats={"scifact": 3})
BILINGUAL = Plan("bilingual", 1, rate=5e-4, lora=LoraShape(48, 96), repeats={"scifact": 2, "law-zh-stard": 4})
VARIANTS: Mapping[str, Plan] = {
    "en-odd": ENGLISH,
    "en-spread": replace(ENGLISH, layers=(0, 2, 4, 7, 9, 11), seed=2),
    "bi-fast": BILINGUAL,
    "bi-slow": replace(BILINGUAL, rate=2.5e-4, dropout=0.1, seed=2, weights=Weights(judged=2.0)),
    "en-judged": replace(
        ENGLISH, layers=(0, 2, 4, 7, 9, 11), weights=Weights(margin=0.01, order=0.5, judged=1.5), seed=3
    ),
    "en-full": replace(ENGLISH, rate=1e-4, lora=None),
}


def pack(lists: Path, teacher: Path, e5: Path, out: Path) -> None:
    """Write what travels: rows of words that no text needs are emptied, and everything is packed by xz."""
    read = read_lists(lists)
    (out / TEACHER).mkdir(parents=True, exist_ok=True)
    (out / E5).mkdir(parents=True, exist_ok=True)
    texts = [*read.texts.values(), *(each.query for each in read.lists), *(each.teacher_query for each in read.lists)]
    _pack_teacher(teacher, texts, out / TEACHER)
    _pack_e5(e5, texts, out / E5)
    pack_lists(read, out / LISTS)
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        print(f"{path.relative_to(out)}: {path.stat().st_size:,} bytes")


def pack_lists(read: Lists, path: Path) -> None:
    """The lists with short ids of passages, those of training cut to a few, and no similarities, which it needs not."""
    cut = [_shortened(each, TRAIN_PASSAGES) if each.part == "train" else each for each in read.lists]
    used = sorted({name for each in cut for name in (*each.passages, *each.teacher_passages)})
    names = {name: _short(number) for number, name in enumerate(used)}
    light = [
        replace(
            each,
            passages=tuple(names[name] for name in each.passages),
            teacher_passages=tuple(names[name] for name in each.teacher_passages),
            similarities=(),
        )
        for each in cut
    ]
    aside = path.with_name("lists.jsonl.gz")
    write_lists(aside, Lists({names[name]: read.texts[name] for name in used}, light))
    path.write_bytes(lzma.compress(gzip.decompress(aside.read_bytes()), preset=9))
    aside.unlink()


def _short(number: int) -> str:
    """In four letters; numbers beside each other have alike names, which packs well."""
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    return "".join(digits[number // 36**place % 36] for place in (3, 2, 1, 0))


def _pack_teacher(folder: Path, texts: Sequence[str], out: Path) -> None:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(folder / _ONNX)
    used = _used((folder / _TOKENIZER).read_text(encoding="utf-8"), texts)
    stem = "bert.embeddings.word_embeddings.weight"
    held = {each.name: each for each in model.graph.initializer}
    zero = numpy_helper.to_array(held[f"{stem}_zero_point"])
    rows = numpy_helper.to_array(held[f"{stem}_quantized"]).copy()
    rows[~_kept(len(rows), used)] = zero
    held[f"{stem}_quantized"].CopyFrom(numpy_helper.from_array(rows, f"{stem}_quantized"))
    packed = lzma.compress(model.SerializeToString(), format=lzma.FORMAT_XZ, filters=_FILTERS)
    (out / f"{_ONNX}.xz").write_bytes(packed)
    for name in (_TOKENIZER, _ABOUT):
        (out / f"{name}.xz").write_bytes(lzma.compress((folder / name).read_bytes()))


def _pack_e5(path: Path, texts: Sequence[str], out: Path) -> None:
    from retrieval.e5_checkpoint import tokenizer_json
    from retrieval.e5_file import E5File

    file = E5File(path)
    used = _used(tokenizer_json(file.pieces), texts)
    start, size = file.span("emb.word")
    whole = np.fromfile(path, np.uint8)
    rows = whole[start : start + size].reshape(file.shape.vocabulary, -1)
    rows[~_kept(len(rows), used)] = 0
    packed = lzma.compress(whole.tobytes(), format=lzma.FORMAT_XZ, filters=_FILTERS)
    (out / f"{_Q4}.xz").write_bytes(packed)


def _used(tokenizer: str, texts: Sequence[str]) -> set[int]:
    import tokenizers

    made = tokenizers.Tokenizer.from_str(tokenizer)
    made.no_truncation()
    made.no_padding()
    found: set[int] = set()
    for at in range(0, len(texts), 2000):
        for encoding in made.encode_batch(list(texts[at : at + 2000])):
            found.update(encoding.ids)
    print(f"{len(found):,} tokens of {made.get_vocab_size():,} are used", flush=True)
    return found


def _kept(rows: int, used: Iterable[int]) -> NDArray[np.bool_]:
    kept = np.zeros(rows, bool)
    kept[:_KEPT] = True
    # The tail of a vocabulary holds a mask token or the like.
    kept[-1] = True
    kept[sorted(used)] = True
    return kept


def unpack(packed: Path, work: Path) -> None:
    """The teacher's folder, the encoder's folder and the lists, below ``work``."""
    from services.model_convert import CONVERTERS

    for path in packed.rglob("*.xz"):
        if path.name != LISTS:
            target = work / path.relative_to(packed).with_suffix("")
            target.parent.mkdir(parents=True, exist_ok=True)
            with lzma.open(path) as source, target.open("wb") as file:
                shutil.copyfileobj(source, file)
    CONVERTERS["e5"].steps[0].run(_made(work / E5, "1_Pooling"), work / E5)


def _made(folder: Path, inside: str) -> Path:
    (folder / inside).mkdir(parents=True, exist_ok=True)
    return folder


def run(packed: Path, work: Path, out: Path, minutes: float, variants: Sequence[str], device: str, small: int) -> None:
    """All of it, within ``minutes``; of each source ``small`` lists, shortened, where it is not 0."""
    began = time.monotonic()
    work.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    _tell(began, "unpacking")
    unpack(packed, work)
    lists = read_lists(packed / LISTS)
    if small:
        lists = _few(lists, small)
    _tell(began, f"{len(lists.lists)} lists; the teacher scores them")
    from ranking.train import judging

    gpus = 0 if device == "cpu" else _gpus()
    lists = _scored(lists, work, device, gpus, 48 if small else 256)
    write_lists(work / "scored.jsonl.gz", lists)
    (out / "teacher.json.gz").write_bytes(
        gzip.compress(json.dumps({each.list_id: each.scores for each in lists.lists if each.scores}).encode(), 6)
    )
    languages = ("en", "zh", "*")
    results: dict[str, object] = {"to beat": judging.standings([e for e in lists.of("dev", languages) if e.judged])}
    _tell(began, json.dumps(results))
    end = began + minutes * 60
    # A process that is told when to end by its own clock, which began when it did.
    running = {
        name: _begin(name, work, device, end - time.monotonic(), _own(number, gpus))
        for number, name in enumerate(variants)
    }
    for name, process in running.items():
        try:
            process.wait(timeout=max(1.0, end + 20 - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.terminate()
            _tell(began, f"{name} took too long and was ended; what it had saved is kept")
    for name in variants:
        folder = work / name
        print((work / f"{name}.log").read_text(encoding="utf-8")[-1500:], flush=True)
        said = folder / "said.json"
        results[name] = json.loads(said.read_text(encoding="utf-8")) if said.is_file() else "failed"
        if (folder / ADAPTER).is_file():
            shutil.copyfile(folder / ADAPTER, out / f"{name}.safetensors")
        if (folder / JOURNAL).is_file():
            with (out / "journals.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps({"variant": name}) + "\n" + (folder / JOURNAL).read_text(encoding="utf-8"))
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    _tell(began, json.dumps({name: said for name, said in results.items() if name != "to beat"})[:6000])


def _scored(lists: Lists, work: Path, device: str, gpus: int, tokens: int) -> Lists:
    """All lists with the teacher's scores, by several processes: making tokens takes longer than reading them."""
    from ranking.train import teacher

    many = min(max(1, len(lists.lists) // 100), 8 if gpus else 1)
    budget = "4000" if device == "cpu" else "60000"
    running = []
    for number in range(many):
        part = work / f"part-{number}.jsonl.gz"
        write_lists(part, Lists(lists.texts, lists.lists[number::many]))
        command = [sys.executable, "-m", "ranking.train.teacher", "--lists", str(part), "--model", str(work / TEACHER),
                   "--out", str(work / f"scored-{number}.jsonl.gz"), "--tokens", str(tokens), "--batch-tokens", budget,
                   "--device", device]  # fmt: skip
        running.append(subprocess.Popen(command, env=_own(number, gpus)))
    ended = [process.wait() for process in running]
    if any(ended):
        raise SystemExit("the teacher's scores were not all made")
    kept = work / "scores.jsonl"
    kept.write_text("".join((work / f"scored-{number}.jsonl.gz.scores").read_text() for number in range(many)))
    return teacher.scored(lists, work / TEACHER, kept, tokens, device, int(budget))


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _own(number: int, gpus: int) -> dict[str, str]:
    """The environment of a process that sees one GPU: a trainer that sees several would take them all."""
    from services.settings import environment

    return {**environment(), "CUDA_VISIBLE_DEVICES": str(number % gpus)} if gpus else dict(environment())


def _begin(
    name: str, work: Path, device: str, seconds: float, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.rerankers_gpu", "variant", "--name", name, "--work", str(work),
               "--device", device, "--seconds", str(seconds)]  # fmt: skip
    with (work / f"{name}.log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)


def variant(name: str, work: Path, device: str, seconds: float) -> None:
    """Measure the pace beside the others, then train for the time that is left, and judge."""
    from retrieval.tokens import Tokenizer

    end = time.monotonic() + seconds
    lists, gpu = read_lists(work / "scored.jsonl.gz"), device != "cpu"
    reading = Reading(passages=12, batch_tokens=60_000) if gpu else Reading(passages=3, tokens=48, batch_tokens=4_000)
    plan = replace(VARIANTS[name], device=device, workers=6 if gpu else 0, lists=64 if gpu else 2, reading=reading)
    base = work / (TEACHER if plan.student == "english" else E5)
    tokenizer = Tokenizer(base / _TOKENIZER)
    folder = work / name
    pair = pace(open_student(plan, base, folder / "start"), tokenizer, lists, plan, 40 if gpu else 2)
    # What the last judging takes, and a share for others that get faster or slower.
    left = end - time.monotonic() - (40 if gpu else 15)
    steps = max(2, int(left / (pair * 1.12)))
    plan = replace(plan, steps=steps, evaluate_every=max(1, steps // 4), save_every=10 * steps)
    print(f"{pair:.3f} s a step, {steps} steps", flush=True)
    model = open_student(plan, base, folder / "start")
    found = train(model, tokenizer, lists, plan, folder, until=end - (35 if gpu else 10))
    said = {"dev": found, "steps": steps, "pace": pair, "plan": asdict(plan)}
    (folder / "said.json").write_text(json.dumps(said), encoding="utf-8")
    print(json.dumps(found), flush=True)


def _few(lists: Lists, small: int) -> Lists:
    counts: dict[tuple[str, str], int] = {}
    kept = []
    for each in lists.lists:
        key = (each.source, each.part)
        counts[key] = counts.get(key, 0) + 1
        if counts[key] <= small:
            kept.append(_shortened(each, 4))
    return Lists(lists.texts, kept)


def _shortened(each: RankedList, passages: int) -> RankedList:
    return replace(
        each,
        passages=each.passages[:passages],
        grades=each.grades[:passages],
        teacher_passages=each.teacher_passages[:passages],
        scores=each.scores[:passages],
        similarities=each.similarities[:passages],
        late=each.late[:passages],
    )


def _tell(began: float, text: str) -> None:
    print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rerankers_gpu", description=__doc__)
    steps = parser.add_subparsers(dest="what", required=True)
    packing = steps.add_parser("pack", help="make the folder that travels")
    for name in ("lists", "teacher", "e5", "out"):
        packing.add_argument(f"--{name}", type=Path, required=True)
    running = steps.add_parser("run", help="on the GPU host")
    running.add_argument("--pack", type=Path, required=True)
    running.add_argument("--work", type=Path, default=Path("rerankers-work"))
    running.add_argument("--out", type=Path, required=True)
    running.add_argument("--minutes", type=float, default=9.0)
    running.add_argument("--variants", nargs="*", default=["en-odd", "en-spread", "bi-fast", "bi-slow"])
    running.add_argument("--device", default="cuda")
    running.add_argument("--small", type=int, default=0, help="lists of each source and part, to try it out")
    one = steps.add_parser("variant", help="what run starts for each variant")
    one.add_argument("--name", choices=list(VARIANTS), required=True)
    one.add_argument("--work", type=Path, required=True)
    one.add_argument("--device", required=True)
    one.add_argument("--seconds", type=float, required=True)
    said = parser.parse_args(arguments)
    if said.what == "pack":
        pack(said.lists, said.teacher, said.e5, said.out)
    elif said.what == "run":
        run(said.pack, said.work, said.out, said.minutes, said.variants, said.device, said.small)
    else:
        variant(said.name, said.work, said.device, said.seconds)


if __name__ == "__main__":
    main(sys.argv[1:])
