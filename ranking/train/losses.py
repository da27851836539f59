"""What a student learns from: the teacher's margins and whole order, late interaction's order, and the judgements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

NO_SCORE = -1e9
"""A teacher's score where there is none; a list without a teacher holds nothing else."""


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each part counts, and the temperature of the distributions over a list.

    ``late`` is that of late interaction's order, a second teacher's. Its scores are mean cosines, which lie within some
    tenths: over ``late_temperature`` they are spread as the teacher's logits are.
    """

    margin: float = 0.03
    order: float = 1.0
    judged: float = 1.0
    temperature: float = 1.0
    late: float = 0.0
    late_temperature: float = 0.03


def margin_mse(student: Tensor, teacher: Tensor, best: Tensor, usable: Tensor) -> Tensor:
    """Mean squared difference of margins to the passage ``best`` (Hofstätter et al., arXiv 2010.02666).

    ``student`` and ``teacher`` are logits ``[lists, passages]``, ``best`` the place of one passage in each list,
    ``usable`` bool ``[lists, passages]``.
    """
    place = best[:, None]
    own = student.gather(1, place) - student
    wanted = teacher.gather(1, place) - teacher
    counted = usable & (torch.arange(student.shape[1], device=student.device) != place)
    return _mean((own - wanted) ** 2, counted)


def list_net(student: Tensor, teacher: Tensor, usable: Tensor, temperature: float) -> Tensor:
    """Cross entropy of the two distributions over each list (ListNet: Cao et al., ICML 2007), less the teacher's own
    entropy, so that 0 is perfect; the mean over lists."""
    wanted = torch.softmax(teacher.masked_fill(~usable, NO_SCORE) / temperature, 1)
    own = torch.log_softmax(student.masked_fill(~usable, NO_SCORE) / temperature, 1)
    # log(0) of a passage that is not there would be NaN times 0.
    certain = torch.log(wanted.clamp_min(1e-12))
    return (wanted * (certain - own)).sum(1).mean() if len(student) else student.sum()


def judged(student: Tensor, grades: Tensor, usable: Tensor) -> Tensor:
    """-log of the share that a relevant passage has against the others, the mean over relevant passages."""
    relevant = (grades > 0) & usable
    others = student.masked_fill(~usable | relevant, NO_SCORE).logsumexp(1, keepdim=True)
    return _mean(torch.logaddexp(student, others) - student, relevant)


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    # Not values[counted]: its size would have to come back from the device.
    total = torch.where(counted, values, torch.zeros((), device=values.device, dtype=values.dtype)).sum()
    return total / counted.sum().clamp_min(1)


class Distillation(nn.Module):
    """The loss that CrossEncoderTrainer calls on what ``ranking.train.batches.Collator`` makes.

    Each part is the mean over the lists that have it: ``margin`` and ``order`` over those that the teacher scored,
    ``late`` over those that late interaction did, ``judged`` over those with a relevant passage.
    """

    def __init__(self, model: Any, weights: Weights) -> None:
        """``model`` is a sentence-transformers CrossEncoder; the trainer may wrap it."""
        super().__init__()
        self.model = model
        self._weights = weights

    def forward(self, inputs: Sequence[Any], labels: Any, prompt: str | None = None, task: str | None = None) -> Tensor:
        """``inputs``: micro-batches of model inputs, and the place ``[lists, passages]`` of each logit in them."""
        batches, places = inputs
        logits = torch.cat([self.model(dict(batch))["scores"].reshape(-1) for batch in batches]).float()
        student = logits[places]
        total, weights = student.new_zeros(()), self._weights
        taught = labels["taught"]
        wanted, usable = labels["scores"][taught], labels["present"][taught]
        own = student[taught]
        best = wanted.masked_fill(~usable, NO_SCORE).argmax(1)
        total = total + weights.margin * margin_mse(own, wanted, best, usable)
        total = total + weights.order * list_net(own, wanted, usable, weights.temperature)
        if weights.late:
            seconded = labels["seconded"]
            second = labels["late"][seconded] * (weights.temperature / weights.late_temperature)
            order = list_net(student[seconded], second, labels["present"][seconded], weights.temperature)
            total = total + weights.late * order
        return total + weights.judged * judged(student, labels["grades"], labels["comparable"])

    def get_config_dict(self) -> Mapping[str, float]:
        """For the model card that the trainer keeps."""
        return asdict(self._weights)
