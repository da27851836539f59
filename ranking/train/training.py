"""Trains one student by sentence-transformers' CrossEncoderTrainer: on a CPU, a GPU or several, resumable."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from ranking.train.batches import LIST, Collator, Reading, numbers, of_languages
from ranking.train.judging import judge
from ranking.train.lists import Lists, RankedList
from ranking.train.losses import Distillation, Weights
from ranking.train.networks import LoraShape, adapted, from_encoder, save_adapter, some_layers, teacher_network
from retrieval.errors import InvalidRequest
from retrieval.merged_reranker import LANGUAGES
from retrieval.tokens import Tokenizer

STUDENTS = LANGUAGES
"""Languages that each reads."""

ADAPTER, JOURNAL, CHECKPOINTS = "adapter.safetensors", "journal.jsonl", "checkpoints"


@dataclass(frozen=True, slots=True)
class Plan:
    """One run. A step is ``accumulate`` batches of ``lists`` lists in each process.

    ``layers`` are those of the teacher that the English student has. A ``lora`` of None trains everything but the
    table of words. ``repeats`` says how often a source comes in one epoch, each time with other passages.
    """

    student: str
    steps: int
    lists: int = 48
    accumulate: int = 1
    rate: float = 3e-4
    warm_up: float = 0.06
    decay: float = 0.01
    dropout: float = 0.05
    seed: int = 1
    layers: tuple[int, ...] = (1, 3, 5, 7, 9, 11)
    lora: LoraShape | None = field(default_factory=lambda: LoraShape(96, 96))
    reading: Reading = field(default_factory=Reading)
    weights: Weights = field(default_factory=Weights)
    repeats: Mapping[str, int] = field(default_factory=dict)
    evaluate_every: int = 0
    save_every: int = 200
    workers: int = 0
    device: str = "cpu"


def open_student(plan: Plan, base: Path, folder: Path) -> Any:
    """sentence-transformers' CrossEncoder before its first step, kept whole in ``folder``.

    ``base`` is the teacher's folder, with ``model.onnx``, or that of the encoder.
    """
    if plan.student == "english":
        network = some_layers(teacher_network(base / "model.onnx"), plan.layers)
    else:
        network = from_encoder(base, plan.seed)
    network.config.hidden_dropout_prob = plan.dropout
    # Fused attention wants none, and LoRA is kept from learning by heart by the other.
    network.config.attention_probs_dropout_prob = 0.0
    network.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(base / name, folder / name)
    return cross_encoder(folder, plan.device)


def cross_encoder(folder: Path, device: str) -> Any:
    """A folder of transformers' as sentence-transformers' CrossEncoder."""
    from sentence_transformers import CrossEncoder

    return CrossEncoder(str(folder), num_labels=1, device=device, local_files_only=True)


def train(model: Any, tokenizer: Tokenizer, lists: Lists, plan: Plan, out: Path, until: float | None = None,
          stop_at: int | None = None) -> dict[str, float]:  # fmt: skip
    """Train ``model`` to the end of the plan, from ``out``'s last checkpoint where there is one.

    Returns nDCG@10 by source on the dev lists. ``until`` is a ``time.monotonic()`` instant at which a run ends with
    what it has; ``stop_at`` ends it after that step. Writes checkpoints, the journal and, by LoRA, the adapter.
    """
    from ranking.train.trainer import Deadline, Journal

    mine, held = _lists(lists, plan), [each for each in lists.of("dev", _languages(plan)) if each.judged]
    network = model.transformers_model
    torch.manual_seed(plan.seed)
    adapted(network, plan.lora)
    out.mkdir(parents=True, exist_ok=True)

    def judged() -> dict[str, float]:
        found = judge(network, tokenizer, held, lists.texts, plan.reading.tokens, 4 * plan.reading.batch_tokens)
        network.train()
        return found

    watching = [Journal(out / JOURNAL, judged, plan.evaluate_every), Deadline(until, stop_at)]
    trainer = _trainer(model, Collator(mine, lists.texts, tokenizer, plan.reading, plan.seed), plan,
                       out / CHECKPOINTS, watching)  # fmt: skip
    before = sorted((out / CHECKPOINTS).glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    trainer.train(resume_from_checkpoint=str(before[-1]) if before else None)
    if not trainer.is_world_process_zero():
        return {}
    about = {"student": plan.student, "layers": plan.layers, "step": trainer.state.global_step}
    if plan.lora is not None:
        # Before the judging too, which can take long.
        save_adapter(out / ADAPTER, network, plan.lora, about)
    found = judged() if held else {}
    if plan.lora is not None:
        save_adapter(out / ADAPTER, network, plan.lora, {**about, "dev": found})
    return found


def pace(model: Any, tokenizer: Tokenizer, lists: Lists, plan: Plan, steps: int = 30) -> float:
    """Seconds a step, by a short run whose result is thrown away; ``model`` is not to be trained any further."""
    from ranking.train.trainer import Pace

    watch = Pace()
    adapted(model.transformers_model, plan.lora)
    collator = Collator(_lists(lists, plan), lists.texts, tokenizer, plan.reading, plan.seed)
    with TemporaryDirectory() as folder:
        short = replace(plan, steps=steps, save_every=10 * steps)
        _trainer(model, collator, short, Path(folder), [watch]).train()
    return watch.seconds()


def _languages(plan: Plan) -> tuple[str, ...]:
    if plan.student not in STUDENTS:
        raise InvalidRequest(f"there is no student {plan.student}; there are {' and '.join(STUDENTS)}")
    return STUDENTS[plan.student]


def _lists(lists: Lists, plan: Plan) -> list[RankedList]:
    mine = of_languages(lists, _languages(plan))
    if not mine:
        raise InvalidRequest(f"no train list is in {' or '.join(_languages(plan))} and scored or judged")
    return mine


def _trainer(model: Any, collator: Collator, plan: Plan, folder: Path, watching: Sequence[Any]) -> Any:
    from datasets import Dataset
    from transformers import PrinterCallback

    from ranking.train.trainer import ListTrainer

    trainer = ListTrainer(
        model=model,
        args=_arguments(plan, folder),
        train_dataset=Dataset.from_dict({LIST: numbers(collator.lists, plan.repeats)}),
        loss=Distillation(model, plan.weights),
        data_collator=collator,
        callbacks=list(watching),
    )
    trainer.remove_callback(PrinterCallback)  # the journal says it
    return trainer


def _arguments(plan: Plan, folder: Path) -> Any:
    from sentence_transformers.cross_encoder import CrossEncoderTrainingArguments

    gpu = plan.device.startswith("cuda")
    return CrossEncoderTrainingArguments(
        output_dir=str(folder),
        max_steps=plan.steps,
        per_device_train_batch_size=plan.lists,
        gradient_accumulation_steps=plan.accumulate,
        learning_rate=plan.rate,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": 0.03},
        warmup_steps=max(1, round(plan.warm_up * plan.steps)),
        weight_decay=plan.decay,
        adam_beta2=0.98,
        max_grad_norm=1.0,
        bf16=gpu,
        use_cpu=not gpu,
        seed=plan.seed,
        logging_steps=1 if plan.steps <= 50 else 20,
        save_strategy="steps",
        save_steps=plan.save_every,
        save_total_limit=2,
        eval_strategy="no",
        report_to=[],
        disable_tqdm=True,
        dataloader_drop_last=True,
        dataloader_num_workers=plan.workers,
        dataloader_persistent_workers=plan.workers > 0,
        dataloader_pin_memory=gpu,
        ddp_find_unused_parameters=False,
    )
