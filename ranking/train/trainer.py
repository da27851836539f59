"""sentence-transformers' trainer, with checkpoints of what is trained alone, a journal, and an end by the clock."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from sentence_transformers.cross_encoder import CrossEncoderTrainer
from transformers import TrainerCallback

from ranking.train.networks import trained

TRAINED = "trained.safetensors"


class ListTrainer(CrossEncoderTrainer):  # type: ignore[misc] # of a library without types
    """CrossEncoderTrainer over ``ranking.train.batches.Collator``.

    A checkpoint holds what is trained, the optimiser's state and the step; the frozen weights come from the base.
    """

    def add_model_card_callback(self, default_args_dict: Mapping[str, Any]) -> None:
        """None: it would read the data set for texts, and there are none in it."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        held = {name: value.detach().cpu().contiguous() for name, value in trained(self.model).items()}
        save_file(held, folder / TRAINED)

    def _load_from_checkpoint(self, checkpoint_path: str) -> None:
        held = load_file(Path(checkpoint_path) / TRAINED)
        with torch.no_grad():
            for name, value in trained(self.model).items():
                value.copy_(held[name])


class Journal(TrainerCallback):  # type: ignore[misc]
    """A line of JSON for each time the trainer says its loss, and of ``judged`` every ``every`` steps, if not 0."""

    def __init__(self, path: Path, judged: Callable[[], Mapping[str, float]], every: int) -> None:
        self._path, self._judged, self._every = path, judged, every
        self._began = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if state.is_world_process_zero and logs and "loss" in logs:
            self._write({"step": state.global_step, "loss": float(logs["loss"]), "rate": logs.get("learning_rate")})

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero and self._every and state.global_step % self._every == 0:
            self._write({"step": state.global_step, "dev": dict(self._judged())})

    def _write(self, said: Mapping[str, object]) -> None:
        line = json.dumps({**said, "seconds": round(time.monotonic() - self._began, 1)})
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        print(line, flush=True)


class Deadline(TrainerCallback):  # type: ignore[misc]
    """Ends a run at an instant of ``time.monotonic()``, or after a step, with a checkpoint."""

    def __init__(self, until: float | None, stop_at: int | None) -> None:
        self._until, self._stop_at = until, stop_at

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        late = self._until is not None and time.monotonic() >= self._until
        if late or (self._stop_at is not None and state.global_step >= self._stop_at):
            control.should_training_stop = True
            control.should_save = True


class Pace(TrainerCallback):  # type: ignore[misc]
    """When each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.monotonic())

    def seconds(self) -> float:
        """A step of the later half of the run."""
        half = len(self.ends) // 2
        return (self.ends[-1] - self.ends[half - 1]) / (len(self.ends) - half)
