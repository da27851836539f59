"""How far a training run is: weights, their running mean, the optimiser and the step, in the file it resumes from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from eval.train.grounding_network import GroundingNetwork


class Progress:
    """A run's state, taken from ``path`` where there is one.

    ``average`` is the weight of a step in the running mean relative to that of the step after it (exponential moving
    average: Polyak and Juditsky, 1992); it makes small sets' figures swing less from step to step.
    """

    def __init__(self, network: GroundingNetwork, optimiser: torch.optim.Optimizer, path: Path, average: float) -> None:
        self.step, self.best = 0, -1.0
        self._network, self._optimiser, self._path, self._average = network, optimiser, path, average
        self._mean = {name: value.detach().clone() for name, value in network.trained().items()}
        if path.is_file():
            self._restore(torch.load(path, weights_only=True))

    def stepped(self) -> int:
        """Count a step of the optimiser, and take its weights into the mean. Returns the step's number."""
        self.step += 1
        # The first steps' weights say little, so that the mean is at first one over few.
        share = 1 - min(self._average, self.step / (self.step + 9))
        for name, value in self._network.trained().items():
            self._mean[name].lerp_(value.detach(), share)
        return self.step

    @contextmanager
    def mean(self) -> Iterator[None]:
        """The network with the running mean in the place of its weights, which are back afterwards."""
        own = self._network.trained()
        before = {name: value.data for name, value in own.items()}
        try:
            for name, value in own.items():
                value.data = self._mean[name]
            yield
        finally:
            for name, value in own.items():
                value.data = before[name]

    def save(self) -> None:
        """Write the file anew, in one step."""
        trained = {name: value.detach().cpu() for name, value in self._network.trained().items()}
        mean = {name: value.cpu() for name, value in self._mean.items()}
        said = {"trained": trained, "mean": mean, "optimiser": self._optimiser.state_dict()}
        aside = self._path.with_name(f"{self._path.name}.new")
        torch.save({**said, "step": self.step, "best": self.best}, aside)
        aside.replace(self._path)

    def _restore(self, said: dict[str, object]) -> None:
        own = self._network.trained()
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(said["trained"][name])  # type: ignore[index]
                self._mean[name].copy_(said["mean"][name])  # type: ignore[index]
        self._optimiser.load_state_dict(said["optimiser"])  # type: ignore[arg-type]
        self.step, self.best = int(said["step"]), float(said["best"])  # type: ignore[arg-type,call-overload]
