"""How the command line judges: opens a judge or the grounding model, and has it work through cases or a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eval.judge import Judge, JudgeSettings, served_judge
from eval.judging import METRICS, asks, judge_all, samples_of
from retrieval.errors import InvalidRequest

if TYPE_CHECKING:
    from eval.answer_metrics import Embed
    from eval.grounding import Grounder
    from eval.grounding_cases import Pair
    from eval.judge_calibration import Told
    from eval.runs import Judgement, RunFolder
    from services.settings import Settings

GROUNDING_MODEL = "riddle-grounding"

Say = Callable[[str, int, int, int], None]
"""``say(part, done, total, failed)``."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be judged of a run."""

    metrics: tuple[str, ...] = ()
    """All that there are when empty."""
    limit: int | None = None
    """Only of the first so many answers."""
    retry_failed: bool = False
    encoder: str = ""
    """Compares questions for answer relevancy; empty takes the one that the settings name."""

    def __post_init__(self) -> None:
        unknown = [each for each in self.metrics if each not in METRICS]
        if unknown:
            raise InvalidRequest(f"no such metric: {', '.join(unknown)}; there are {', '.join(METRICS)}")


async def judge_run(folder: RunFolder, asked: JudgeSettings, wanted: Wanted, settings: Settings, say: Say) -> str:
    """Have a server judge what the run has no judgement of yet. Returns the judge's id.

    Raises Unavailable when it is away, before anything is judged or after.
    """
    from eval.answer_metrics import PROMPTS, RagasMetrics
    from eval.judged_run import forget_failed

    asked = await served_judge(asked)
    name, metrics = asked.id(PROMPTS), wanted.metrics or tuple(METRICS)
    if wanted.retry_failed:
        forget_failed(folder, name)
    samples = samples_of(folder)[: wanted.limit]
    there = [each for each in folder.judgements() if each.judge == name]
    todo = asks(samples, metrics, name, asked.repeats, there)
    embed = _embed(wanted.encoder, settings) if any(each.metric == "answer_relevancy" for each in todo) else None
    done = failed = 0

    def keep(judgement: Judgement) -> None:
        nonlocal done, failed
        folder.append(judgement)
        done, failed = done + 1, failed + (judgement.value is None)
        say("judging", done, len(todo), failed)

    async with Judge(asked) as judge:
        await judge_all(todo, RagasMetrics(judge, embed), name, asked.concurrency, keep)
    return name


async def ask_cases(asked: JudgeSettings, cases: Sequence[Pair], say: Say) -> tuple[str, list[Told]]:
    """A server's verdicts on cases that are known, and its id, by the prompt that faithfulness is judged with."""
    from eval.answer_metrics import PROMPTS, RagasMetrics
    from eval.judge_calibration import ask_judge

    asked = await served_judge(asked)
    async with Judge(asked) as judge:
        metrics = RagasMetrics(judge)
        told = await ask_judge(cases, metrics.supported, asked.concurrency, lambda *counts: say("calibrating", *counts))
    return asked.id(PROMPTS), told


def ground_run(folder: RunFolder, settings: Settings, limit: int | None, say: Say) -> str:
    """Have the grounding model judge what it has not judged of the run yet. Returns its name."""
    from eval.judged_run import ground_all

    model = _grounder(settings)
    ground_all(folder, model.check, model.name, limit, lambda *counts: say("grounding", *counts))
    return model.name


def ground_cases(cases: Sequence[Pair], settings: Settings) -> tuple[str, list[Told]]:
    """The grounding model's name, and its verdicts on cases that are known."""
    from eval.judge_calibration import ask_grounding

    model = _grounder(settings)
    return model.name, ask_grounding(cases, model.check)


def _grounder(settings: Settings) -> Grounder:
    """Raises ModelMissing when it is neither there nor to be had."""
    from eval.grounding import open_grounder
    from services.models import pull

    return open_grounder(pull(GROUNDING_MODEL, settings.home), threads=settings.models.threads)


def _embed(encoder: str, settings: Settings) -> Embed:
    """Questions to vectors, by the encoder of that name."""
    from services.encoders import encoder_named

    opened = encoder_named(encoder or settings.models.encoder, settings)
    return lambda texts: opened.encode(texts, "query")
