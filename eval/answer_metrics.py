"""RAGAS 0.4's metrics of one answer, by whichever judge; the only import of ragas, and slow to load.

RAGAS itself lets failures pass as values: a question that no judge could write counts 0, statements without a verdict
are left out, a verdict of 7 is averaged, an error becomes NaN. Here each of these is a JudgementFailed. Its own client
is left aside as well: it leaves an identifier below the user's home whatever it is told, and asks again unseen.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
from ragas.embeddings.base import BaseRagasEmbedding
from ragas.llms.base import InstructorBaseRagasLLM
from ragas.metrics import collections

from eval.judge import JudgementFailed
from eval.judging import METRICS, Sample

PROMPTS = f"ragas-{version('ragas')}"
"""Names the prompts; part of a judge's id."""

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
"""Questions to vectors ``[n, d]``, for answer relevancy; thread-safe, as encoders are."""

_SCALES: Mapping[str, Sequence[int]] = {"rating": (0, 1, 2)}
"""Whole numbers that a judge may give, by field; 0 or 1 in all other fields."""


class Asked(Protocol):
    """The judge, as ``eval.judge.Judge`` is one."""

    async def ask(self, prompt: str, schema: Mapping[str, Any], read: Callable[[Any], Any]) -> Any: ...


@dataclass(frozen=True, slots=True)
class RagasMetrics:
    """Measures one metric of one sample at a time."""

    judge: Asked
    embed: Embed | None = None
    """Answer relevancy needs it."""

    async def __call__(self, metric: str, sample: Sample) -> float:
        """The metric's value. Raises JudgementFailed; ``empty`` where RAGAS has nothing to average."""
        model = _Asking(self.judge)
        value = float((await self._scored(metric, sample, model)).value)
        if model.failure is not None:  # some metrics swallow it
            raise model.failure
        if not math.isfinite(value):
            raise JudgementFailed("empty", f"{metric} of nothing")
        return value

    async def supported(self, statement: str, passage: str) -> bool:
        """Whether the judge says that the passage supports the statement: the second half of faithfulness alone."""
        verdicts = await _Faithfulness(llm=_Asking(self.judge))._create_verdicts([statement], passage)
        return bool(verdicts.statements[0].verdict)

    async def _scored(self, metric: str, sample: Sample, model: _Asking) -> Any:
        asked, answer, contexts, reference = sample.question, sample.answer, list(sample.contexts), sample.reference
        match metric:
            case "faithfulness":
                return await _Faithfulness(llm=model).ascore(asked, answer, contexts)
            case "answer_relevancy":
                if self.embed is None:
                    raise ValueError("answer relevancy compares questions by their vectors: give an encoder")
                return await collections.AnswerRelevancy(llm=model, embeddings=_Embedding(self.embed)).ascore(
                    asked, answer
                )
            case "context_precision":
                return await collections.ContextPrecision(llm=model).ascore(asked, reference, contexts)
            case "context_recall":
                return await collections.ContextRecall(llm=model).ascore(asked, contexts, reference)
            case "factual_correctness":
                # A gold span alone states nothing; with its question it does.
                return await _FactualCorrectness(llm=model).ascore(answer, f"{asked} {reference}")
            case "context_relevance":
                return await collections.ContextRelevance(llm=model, max_retries=1).ascore(asked, contexts)
        raise ValueError(f"no such metric: {metric}; there are {', '.join(METRICS)}")


class _Asking(InstructorBaseRagasLLM):  # type: ignore[misc]
    """RAGAS' model, for one judgement: asks the judge, and remembers the first failure."""

    def __init__(self, judge: Asked) -> None:
        self._judge = judge
        self.verdicts: int | None = None
        """How many verdicts the next reply has to hold; any number when None."""
        self.failure: JudgementFailed | None = None

    def generate(self, prompt: str, response_model: type[BaseModel]) -> BaseModel:
        raise NotImplementedError("our metrics only wait asynchronously")

    async def agenerate(self, prompt: str, response_model: type[BaseModel]) -> BaseModel:
        try:
            answered: BaseModel = await self._judge.ask(
                prompt, _schema(response_model, self.verdicts), lambda value: _read(response_model, value)
            )
        except JudgementFailed as failure:
            self.failure = self.failure or failure
            raise
        return answered


class _Embedding(BaseRagasEmbedding):  # type: ignore[misc]
    def __init__(self, embed: Embed) -> None:
        super().__init__()
        self._embed = embed

    def embed_text(self, text: str) -> list[float]:
        found: list[float] = self._embed([text])[0].tolist()
        return found

    async def aembed_text(self, text: str) -> list[float]:
        return await asyncio.to_thread(self.embed_text, text)


class _Faithfulness(collections.Faithfulness):  # type: ignore[misc]
    async def _create_verdicts(self, statements: list[str], context: str) -> Any:
        return await _one_each(self.llm, statements, super()._create_verdicts(statements, context))


class _FactualCorrectness(collections.FactualCorrectness):  # type: ignore[misc]
    async def _decompose_claims(self, text: str) -> list[str]:
        claims: list[str] = await super()._decompose_claims(text)
        if not claims:
            raise JudgementFailed("empty", "no claim was found")
        return claims

    async def _verify_claims(self, claims: list[str], reference: str) -> Any:
        return await _one_each(self.llm, claims, super()._verify_claims(claims, reference))


async def _one_each(model: _Asking, statements: Sequence[str], asked: Awaitable[Any]) -> Any:
    """The verdicts that are waited for, once it is certain that there is one on each statement."""
    model.verdicts = len(statements)
    verdicts = await asked
    model.verdicts = None
    if len(verdicts.statements) != len(statements):
        raise JudgementFailed("unparseable", f"{len(verdicts.statements)} verdicts on {len(statements)} statements")
    return verdicts


def _read(shape: type[BaseModel], value: Any) -> BaseModel:
    """Raises ValueError (pydantic's is one) for another shape, a number off its scale, or an empty question."""
    answered = shape.model_validate(value)
    for name, number in _numbers(answered.model_dump()):
        if number not in _SCALES.get(name, (0, 1)):
            raise ValueError(f"{name} {number} is off its scale")
    if getattr(answered, "question", "said").strip() == "":
        raise ValueError("the question is empty")
    return answered


def _numbers(value: Any) -> Iterator[tuple[str, int]]:
    for each in value if isinstance(value, list) else []:
        yield from _numbers(each)
    for name, each in value.items() if isinstance(value, dict) else []:
        if isinstance(each, int):
            yield name, each
        else:
            yield from _numbers(each)


def _schema(shape: type[BaseModel], verdicts: int | None) -> dict[str, Any]:
    """The shape's JSON schema, with numbers held to their scale and as many verdicts as are due: a server that keeps
    its model to a schema keeps a weak judge from going astray."""
    schema: dict[str, Any] = shape.model_json_schema()
    for each in (schema, *schema.get("$defs", {}).values()):
        for name, wanted in each.get("properties", {}).items():
            if wanted.get("type") == "integer":
                wanted["enum"] = list(_SCALES.get(name, (0, 1)))
    if verdicts is not None:
        schema["properties"]["statements"] |= {"minItems": verdicts, "maxItems": verdicts}
    return schema
