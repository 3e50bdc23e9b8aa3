"""The state of a training run as bytes: what a later attempt needs to go on as if nothing had happened."""

from dataclasses import dataclass
from typing import Any

import torch
from touchstone_contracts.steps import EpochScore
from touchstone_runtime.logs import get_logger

from touchstone_trainer.recipes.learner import Learner
from touchstone_trainer.stored_state import state_bytes, state_of

log = get_logger(__name__)

LAYOUT = 2
"""Raise it when the state changes: what another release saved is then not read."""


@dataclass
class Position:
    """How far a run is. Epochs count from 1; the order of images and their crops follow from seed and epoch."""

    epoch: int = 1
    batches: int = 0
    """Done of this epoch."""
    loss: torch.Tensor | None = None
    """Sum over the images of these batches."""


def dump_state(learner: Learner, descent: Any, selection: Any, position: Position) -> bytes:
    """`descent` and `selection`: loop.Descent and loop.Selection."""
    state = {
        "layout": LAYOUT,
        "torch": str(torch.__version__),
        "epoch": position.epoch,
        "batches": position.batches,
        "loss": position.loss,
        "done": descent.done,
        "learner": learner.state_dict(),
        "optimizer": descent.optimizer.state_dict(),
        "scaler": descent.scaler.state_dict(),
        "weights": selection.weights,
        "best_epoch": selection.best_epoch,
        "scores": [score.model_dump(mode="json") for score in selection.scores],
        "rng": torch.get_rng_state(),
        "rng_of_devices": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    return state_bytes(state)


def restore_state(data: bytes | None, learner: Learner, descent: Any, selection: Any) -> Position:
    """Where to go on: the beginning where nothing was saved, or nothing that fits."""
    state = None if data is None else _readable(data, learner)
    if state is None:
        return Position()
    learner.load_state_dict(state["learner"])
    descent.optimizer.load_state_dict(state["optimizer"])
    descent.scaler.load_state_dict(state["scaler"])
    descent.done = state["done"]
    selection.weights, selection.best_epoch = state["weights"], state["best_epoch"]
    selection.scores = [EpochScore.model_validate(score) for score in state["scores"]]
    torch.set_rng_state(state["rng"])
    if state["rng_of_devices"]:
        torch.cuda.set_rng_state_all(state["rng_of_devices"])
    log.info("training.resumed", epoch=state["epoch"], updates=state["done"])
    loss = state["loss"]
    return Position(state["epoch"], state["batches"], None if loss is None else loss.to(descent.parameters[0].device))


def _readable(data: bytes, learner: Learner) -> dict[str, Any] | None:
    try:
        state: dict[str, Any] = state_of(data)
    except Exception as error:  # whatever is wrong with it, the run can begin anew
        log.warning("savepoint.unreadable", error=str(error))
        return None
    devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    shapes = {name: value.shape for name, value in learner.state_dict().items()}
    fits = (
        (state.get("layout"), state["torch"]) == (LAYOUT, str(torch.__version__))
        and len(state["rng_of_devices"]) == devices
        and {name: value.shape for name, value in state["learner"].items()} == shapes
    )
    if not fits:
        log.warning("savepoint.of_another_kind", torch=state["torch"])
    return state if fits else None
