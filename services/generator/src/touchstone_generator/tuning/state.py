"""The state of a tuning as bytes: what a later attempt needs to go on as if nothing had happened."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from touchstone_runtime.logs import get_logger

from touchstone_generator.stored_state import state_bytes, state_of

log = get_logger(__name__)


def dump_state(
    step: int, trained: Mapping[str, torch.Tensor], optimizer: torch.optim.Optimizer, losses: np.ndarray
) -> bytes:
    """Batches, noise and times follow from seed and step, so nothing else decides what comes next."""
    state = {
        "torch": str(torch.__version__),
        "step": step,
        "weights": {name: parameter.detach() for name, parameter in trained.items()},
        "optimizer": optimizer.state_dict(),
        "losses": torch.from_numpy(losses),
    }
    return state_bytes(state)


def restore_state(
    data: bytes | None, trained: Mapping[str, torch.Tensor], optimizer: torch.optim.Optimizer, losses: np.ndarray
) -> int:
    """The step to go on with: 0 where nothing was saved, or nothing that fits."""
    state = None if data is None else _readable(data, trained)
    if state is None:
        return 0
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(state["weights"][name])
    optimizer.load_state_dict(state["optimizer"])
    losses[:] = state["losses"].numpy()
    log.info("tuning.resumed", step=state["step"])
    return int(state["step"])


def _readable(data: bytes, trained: Mapping[str, torch.Tensor]) -> dict[str, Any] | None:
    try:
        state: dict[str, Any] = state_of(data)
    except Exception as error:  # whatever is wrong with it, the work can begin anew
        log.warning("savepoint.unreadable", error=str(error))
        return None
    shapes = {name: parameter.shape for name, parameter in trained.items()}
    found = {name: value.shape for name, value in state["weights"].items()}
    return state if (state["torch"], found) == (str(torch.__version__), shapes) else None
