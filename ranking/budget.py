"""How many candidates a cross-encoder can read in the time that is left, from what reading has cost so far."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import InvalidRequest

Floats = NDArray[np.float64]

PAIR_OVERHEAD = 3
"""Special tokens of a pair."""

RATIOS = 512
"""Requests whose surprise is remembered."""

_RATE = 0.02
"""How much one request counts for the level: half of a lasting change is learned after 35 requests."""

_CJK_TOKENS, _CHARS_PER_TOKEN = 0.75, 4.2
"""Tokens of a Han, Kana or Hangul character in XLM-R's vocabulary, and other characters of a token."""


def estimated_tokens(query: str, texts: Sequence[str], longest: int) -> list[int]:
    """About how many tokens each pair has, ``longest`` at most, without tokenising: by characters."""
    asked = _tokens(query)
    return [min(longest, PAIR_OVERHEAD + asked + _tokens(text)) for text in texts]


def _tokens(text: str) -> int:
    wide = sum("\u3040" <= character <= "\ud7af" for character in text)
    return math.ceil(wide * _CJK_TOKENS + (len(text) - wide) / _CHARS_PER_TOKEN)


@dataclass(frozen=True, slots=True)
class Sample:
    """What one call of the cross-encoder read, and the milliseconds that it took."""

    pairs: int
    tokens: int
    ms: float
    in_flight: int = 1
    """Calls that ran at the time, this one included."""


@dataclass(frozen=True, slots=True)
class CostModel:
    """``(fixed + pairs * pair + tokens * token) * level * in_flight``, and how far from it calls have ended.

    Calls that run at once share the processor's cores, hence the product with ``in_flight``.
    """

    fixed_ms: float
    pair_ms: float
    token_ms: float
    level: float = 1.0
    """Drift since the fit: how loaded this machine is, mostly."""
    ratios: tuple[float, ...] = (1.0,)
    """Real over expected milliseconds of the latest ``RATIOS`` calls, oldest first."""

    def expected_ms(self, pairs: int, tokens: int, in_flight: int = 1) -> float:
        return (self.fixed_ms + pairs * self.pair_ms + tokens * self.token_ms) * self.level * max(1, in_flight)

    def ratio(self, quantile: float) -> float:
        """How much longer than expected the given part of calls take, 1 at least."""
        return max(1.0, float(np.quantile(self.ratios, quantile)))

    def refined(self, sample: Sample) -> CostModel:
        """The model after one more call: the level moves a little towards it, and its surprise is remembered."""
        if sample.pairs < 1 or sample.ms <= 0:
            return self.hopeful()
        surprise = sample.ms / self.expected_ms(sample.pairs, sample.tokens, sample.in_flight)
        # One call that was held up for a second is for the spread, not for the level.
        drift = math.exp(_RATE * math.log(min(4.0, max(0.25, surprise))))
        return replace(self, level=self.level * drift, ratios=(*self.ratios, surprise)[-RATIOS:])

    def hopeful(self) -> CostModel:
        """The model after a call for which there seemed to be no time: a little of what was learned is forgotten.

        Else a machine that was busy once would never be tried again.
        """
        return replace(self, level=self.level ** (1 - _RATE), ratios=(*self.ratios, 1.0)[-RATIOS:])

    def to_json(self) -> str:
        return json.dumps(
            {name: getattr(self, name) for name in ("fixed_ms", "pair_ms", "token_ms", "level", "ratios")}
        )

    @staticmethod
    def from_json(text: str) -> CostModel:
        """Raises InvalidRequest when it is not what ``to_json`` writes."""
        try:
            said: Mapping[str, float] = json.loads(text)
            numbers = [float(said[name]) for name in ("fixed_ms", "pair_ms", "token_ms", "level")]
            ratios = tuple(float(each) for each in json.loads(text)["ratios"])
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidRequest(f"this is no cost model ({error!r}): run riddle calibrate again") from None
        if not ratios or not all(math.isfinite(each) and each >= 0 for each in (*numbers, *ratios)) or numbers[3] <= 0:
            raise InvalidRequest("this cost model has impossible numbers: run riddle calibrate again")
        fixed, pair, token, level = numbers
        return CostModel(fixed, pair, token, level, ratios[-RATIOS:])


UNKNOWN = CostModel(0.0, 1.0, 0.0)
"""Of a reranker whose cost was not measured: to be planned with by nobody, and to learn from."""


def fit(samples: Sequence[Sample]) -> CostModel:
    """The model that is nearest to the samples, each error counted relative to its time; no part below 0.

    Raises InvalidRequest for fewer than three samples.
    """
    if len(samples) < 3:
        raise InvalidRequest(f"{len(samples)} measurements are too few to fit a cost model to: three are needed")
    took = np.array([sample.ms / max(1, sample.in_flight) for sample in samples])
    parts = np.array([[1.0, sample.pairs, sample.tokens] for sample in samples])
    free = [0, 1, 2]
    while True:
        solved = np.linalg.lstsq(parts[:, free] / took[:, None], np.ones(len(took)), rcond=None)[0]
        if (solved >= 0).all() or len(free) == 1:
            break
        del free[int(np.argmin(solved))]
    whole = np.zeros(3)
    whole[free] = np.maximum(solved, 0)
    model = CostModel(float(whole[0]), float(whole[1]), float(whole[2]))
    ratios = sorted(float(ms / model.expected_ms(s.pairs, s.tokens)) for ms, s in zip(took, samples, strict=True))
    return replace(model, ratios=tuple(ratios[-RATIOS:]))


@dataclass(frozen=True, slots=True)
class Plan:
    """What to read now."""

    count: int
    """The first so many candidates; 0 when there is not time for one."""
    expected_ms: float
    stop_ms: float
    """Milliseconds from now after which no further micro-batch may begin, so that the last one ends in time."""


@dataclass(frozen=True, slots=True)
class BudgetSettings:
    """How careful plans are."""

    quantile: float = 0.5
    """The part of plans that are read to their end. The others are stopped in time all the same, and what they lack is
    some of the last round: planning for nine in ten left a third of the time unused."""
    stop_quantile: float = 0.99
    """The part of calls whose last micro-batch ends in time."""
    batch_tokens: int = 128
    """Of a micro-batch, which is what may still run when time is up."""
    keep_ms: float = 3.0
    """Left for what comes after reading: blend, diversity, the answer's way back."""

    def __post_init__(self) -> None:
        if not (0 < self.quantile < 1 and 0 < self.stop_quantile < 1 and self.batch_tokens > 0 and self.keep_ms >= 0):
            raise ValueError(f"a budget cannot be planned by {self}")


class Budget:
    """A cost model that learns from the calls it planned. Thread-safe; ``model`` can be stored at any time."""

    def __init__(self, model: CostModel, settings: BudgetSettings | None = None) -> None:
        self._model = model
        self._settings = settings or BudgetSettings()
        self._running = 0
        self._lock = threading.Lock()

    @property
    def model(self) -> CostModel:
        return self._model

    def begin(self) -> int:
        """Say that a call begins to read; gives how many run, this one included. Follow it by ``end``."""
        with self._lock:
            self._running += 1
            return self._running

    def end(self, pairs: int, tokens: int, ms: float, in_flight: int) -> None:
        """Say that the call that ``begin`` numbered ``in_flight`` is done, and what it read in which time."""
        with self._lock:
            self._model = self._model.refined(Sample(pairs, tokens, ms, max(in_flight, self._running)))
            self._running -= 1

    def plan(self, left_ms: float, lengths: Sequence[int], in_flight: int = 1) -> Plan:
        """How many of the pairs of ``lengths`` tokens, foremost first, are read in ``left_ms``.

        ``in_flight`` calls run, this one included. At least one pair is planned where the time up to
        ``stop_ms`` allows its beginning.
        """
        model, careful = self._model, self._settings
        longest = max(careful.batch_tokens, max(lengths, default=0))
        last = model.expected_ms(1, min(longest, sum(lengths)), in_flight)
        stop = max(0.0, left_ms - careful.keep_ms - last * model.ratio(careful.stop_quantile))
        room = (left_ms - careful.keep_ms) / model.ratio(careful.quantile)
        tokens = np.cumsum(np.asarray(lengths, np.float64))
        work = model.fixed_ms + model.pair_ms * np.arange(1, len(tokens) + 1) + model.token_ms * tokens
        expected = work * model.level * max(1, in_flight)
        count = int(np.searchsorted(expected, room, side="right")) if stop > 0 else 0
        return Plan(count, float(expected[count - 1]) if count else 0.0, stop)
