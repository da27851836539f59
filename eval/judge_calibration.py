"""Whether a judge is to be believed: how often it is right about statements whose support is known."""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from eval.citation_scores import Check
from eval.citation_scores import supported as supported_by
from eval.grounding_cases import CONTRADICTED, SUPPORTED, Pair
from eval.grounding_science import claims
from eval.grounding_sets import questions
from eval.judge import JudgementFailed
from eval.judging import Patience, at_once
from retrieval.durable import replace_json
from retrieval.errors import InvalidRequest

PASSAGE_TOKENS = 200
"""About how long the passages are."""

FIT = 0.7
"""The least balanced accuracy, in each language, of a judge that may gate anything."""

Z = 1.959963984540054
"""Of a 95 % interval."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a judge said of a case; None when its judgement failed."""

    case: Pair
    said: bool | None
    error: str = ""

    @property
    def supported(self) -> bool:
        """What is true of it."""
        return self.case.label == SUPPORTED

    @property
    def right(self) -> bool:
        return self.said is self.supported


@dataclass(frozen=True, slots=True)
class Figures:
    """How right a judge is; failed judgements count as wrong."""

    n: int
    failed: int
    sensitivity: float
    """Share of supported statements that it said are supported."""
    specificity: float
    """Share of the others that it said are not."""
    balanced_accuracy: float
    """The mean of both; 0.5 for one that says the same of all."""
    low: float
    high: float
    """The 95 % interval of ``balanced_accuracy``."""
    errors: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Calibration:
    """What is in ``calibration.json``."""

    judge: str
    fit: bool
    """Every language's balanced accuracy is at least ``FIT``."""
    figures: Figures
    by_language: Mapping[str, Figures]
    right_by_source: Mapping[str, tuple[int, int]]
    """``source/kind`` (``scifact/gold``, ``drcd/number``, ``squad/supported``) to how many were right, of how many."""

    def fit_for(self, languages: Iterable[str]) -> bool:
        """Whether the judge is fit in each of ``languages``; one that it was not tried in it is not."""
        return all(
            language in self.by_language and self.by_language[language].balanced_accuracy >= FIT
            for language in languages
        )


def known_cases(root: Path, n: int, seed: int = 0) -> list[Pair]:
    """``n`` statements, half English and half Chinese, half of each supported; the rest are contradicted.

    Of ``scifact`` the claims with gold evidence; of ``squad``, ``cmrc2018`` and ``drcd`` answers made into statements,
    and planted errors: the parts that nothing of ours was trained on. A judge sees them in random order, so that a
    part of them is fair as well. Raises InvalidRequest when a set is missing, or holds fewer.
    """
    share = max(1, n // 8)
    rng = random.Random(seed)
    evidence = claims(root / "scifact", "measure", PASSAGE_TOKENS, seed)
    found: list[Pair] = []
    for pairs in (
        rng.sample(evidence, len(evidence)),
        questions(root / "squad" / "train-v1.1.json.gz", "measure", "en", PASSAGE_TOKENS, seed),
        questions(root / "cmrc2018" / "train.json.gz", "measure", "zh", PASSAGE_TOKENS, seed),
        questions(root / "drcd" / "dev.json.gz", None, "zh", PASSAGE_TOKENS, seed),
    ):
        found += _of_each(pairs, share)
    rng.shuffle(found)
    return found


def _of_each(pairs: Iterable[Pair], share: int) -> list[Pair]:
    """The first ``share`` supported and as many contradicted ones."""
    taken: dict[int, list[Pair]] = {SUPPORTED: [], CONTRADICTED: []}
    for pair in pairs:
        if pair.label in taken and len(taken[pair.label]) < share:
            taken[pair.label].append(pair)
        if all(len(each) == share for each in taken.values()):
            return [pair for each in taken.values() for pair in each]
    raise InvalidRequest(
        f"there are not {share} supported and {share} contradicted statements of each set; ask for fewer"
    )


async def ask_judge(
    cases: Sequence[Pair],
    supported: Callable[[str, str], Awaitable[bool]],
    concurrency: int,
    say: Callable[[int, int, int], None] = lambda done, total, failed: None,
) -> list[Told]:
    """Ask of each case ``supported(statement, passage)``, ``concurrency`` at once; ``say(done, total, failed)``.

    Raises Unavailable once the judge has gone away.
    """
    told: dict[int, Told] = {}
    patience = Patience()

    async def ask(place: int) -> None:
        case, said, error = cases[place], None, ""
        try:
            said = await supported(case.statement, case.passage)
        except JudgementFailed as failed:
            error = failed.kind
        patience.heard(error)
        told[place] = Told(case, said, error)
        say(len(told), len(cases), sum(each.said is None for each in told.values()))

    await at_once(range(len(cases)), ask, concurrency)
    return [told[place] for place in range(len(cases))]


def ask_grounding(cases: Sequence[Pair], check: Check) -> list[Told]:
    """The same of a grounding model; ``check`` as of ``Grounder``."""
    verdicts = supported_by(check([(case.statement, case.passage) for case in cases]))
    return [Told(case, bool(said)) for case, said in zip(cases, verdicts, strict=True)]


def calibration(judge: str, told: Sequence[Told]) -> Calibration:
    """What the cases say of the judge. Raises InvalidRequest when a language has no supported, or no other case."""
    languages = sorted({each.case.language for each in told})
    by_language: dict[str, Figures] = {
        language: figures([each for each in told if each.case.language == language]) for language in languages
    }
    by_source: dict[str, tuple[int, int]] = {}
    for each in told:
        name = f"{each.case.source}/{'supported' if each.supported else each.case.kind}"
        right, of = by_source.get(name, (0, 0))
        by_source[name] = (right + each.right, of + 1)
    return Calibration(
        judge=judge,
        fit=bool(by_language) and all(each.balanced_accuracy >= FIT for each in by_language.values()),
        figures=figures(told),
        by_language=by_language,
        right_by_source=dict(sorted(by_source.items())),
    )


def figures(told: Sequence[Told]) -> Figures:
    """Balanced accuracy with its interval.

    Wilson's interval of each half (1927), joined by the square-and-add method for a sum of independent estimates
    (Zou and Donner, Statistics in Medicine 2008).
    """
    halves = [[each.right for each in told if each.supported is supported] for supported in (True, False)]
    if not all(halves):
        raise InvalidRequest("a calibration needs supported and unsupported statements in every language")
    (sensitivity, low_1, high_1), (specificity, low_2, high_2) = (_wilson(sum(half), len(half)) for half in halves)
    middle = (sensitivity + specificity) / 2
    errors: dict[str, int] = {}
    for each in told:
        if each.said is None:
            errors[each.error] = errors.get(each.error, 0) + 1
    return Figures(
        n=len(told),
        failed=sum(errors.values()),
        sensitivity=sensitivity,
        specificity=specificity,
        balanced_accuracy=middle,
        low=middle - math.hypot(sensitivity - low_1, specificity - low_2) / 2,
        high=middle + math.hypot(high_1 - sensitivity, high_2 - specificity) / 2,
        errors=errors,
    )


def write_calibration(path: Path, found: Calibration) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_json(path, asdict(found))


def read_calibration(path: Path) -> Calibration:
    """Raises InvalidRequest for a file that is missing, or that is none."""
    try:
        found: Calibration = _CALIBRATION.validate_json(path.read_bytes())
    except OSError as error:
        raise InvalidRequest(f"{path}: no calibration there; `riddle eval calibrate --out` writes one") from error
    except ValidationError as error:
        raise InvalidRequest(f"{path} is no calibration of a judge ({error.error_count()} faults)") from error
    return found


def calibration_in(entry: Any) -> Calibration | None:
    """The calibration that an entry of a run's ``judges.json`` tells of; None when it tells of none."""
    try:
        found: Calibration = _CALIBRATION.validate_python(entry)
    except ValidationError:
        return None
    return found


def _wilson(hits: int, n: int) -> tuple[float, float, float]:
    share = hits / n
    middle = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    return share, max(0.0, middle - half), min(1.0, middle + half)


_CALIBRATION = TypeAdapter(Calibration)
