"""What every training run does at a step: descend, average the weights, keep the curve, survive an interruption."""

import json
import time
from pathlib import Path

import numpy as np
import structlog
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from touchstone_miniverse.checkpoints import load_state, save_state, update_average

log = structlog.get_logger()

CURVE_EVERY = 50


class Learner:
    """A model with its optimiser, its averaged weights and the number of steps done.

    `folder` gets `state.safetensors` (everything a run goes on from, exactly) and `curve.jsonl` (a line per 50 steps).
    """

    def __init__(self, model: nn.Module, optimiser: Optimizer, batch: int, folder: Path) -> None:
        self.model, self.optimiser, self.batch, self.folder = model, optimiser, batch, folder
        self.average = {name: value.detach().clone() for name, value in model.state_dict().items()}
        self.peaks = [group["lr"] for group in optimiser.param_groups]
        self.done = 0
        self._losses: list[float] = []
        self._latest = torch.zeros(CURVE_EVERY, device=next(model.parameters()).device)
        self._unread = 0
        self._clock = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)

    def resume(self) -> None:
        """Go on from the folder's last state, if there is one."""
        state = self.folder / "state.safetensors"
        if state.exists():
            self.done, average = load_state(state, self.model, self.optimiser)
            self.average = {name: value.to(self.average[name].device) for name, value in average.items()}

    def descend(self, loss: Tensor, rate: float, average_decay: float) -> None:
        """One step down the gradient of `loss` (norm clipped to 1), then the average moves after the weights.

        `rate` is the share of each group's own learning rate, the one it was given at the beginning.
        Early averages forget faster: a decay above (steps done) / (steps done + 9) would remember the random start.
        """
        for group, peak in zip(self.optimiser.param_groups, self.peaks, strict=True):
            group["lr"] = peak * rate
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.done += 1
        update_average(self.average, self.model, min(average_decay, self.done / (self.done + 9)))
        self._latest[self._unread] = loss.detach()
        self._unread += 1
        if self.done % CURVE_EVERY == 0:
            self._note()

    @property
    def losses(self) -> list[float]:
        """Of this object's steps. They are read together, because reading waits for the device."""
        self._losses += self._latest[: self._unread].tolist()
        self._unread = 0
        return self._losses

    def save(self, name: str = "state.safetensors") -> None:
        """Keep the whole state under `name` in the run's folder."""
        save_state(self.folder / name, self.done, self.model, self.optimiser, self.average)

    def start_from(self, weights: dict[str, Tensor]) -> None:
        """Take exported weights (half precision) as a beginning: the optimiser starts fresh and needs its warm-up."""
        self.model.load_state_dict({name: value.to(torch.float32) for name, value in weights.items()})
        self.average = {name: value.detach().clone() for name, value in self.model.state_dict().items()}

    def _note(self) -> None:
        seconds = time.monotonic() - self._clock
        self._clock = time.monotonic()
        facts = {
            "step": self.done,
            "samples": self.done * self.batch,
            "loss": round(float(np.mean(self.losses[-CURVE_EVERY:])), 4),
            "learning_rate": self.optimiser.param_groups[0]["lr"],
            "samples_per_second": round(min(CURVE_EVERY, len(self.losses)) * self.batch / seconds),
        }
        with (self.folder / "curve.jsonl").open("a") as curve:
            curve.write(json.dumps(facts) + "\n")
        log.info("training.step", **facts)
