"""Training state on disk as safetensors: weights, averaged weights, optimiser moments and the step."""

import os
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer


def save_state(path: Path, step: int, model: nn.Module, optimiser: Optimizer, average: dict[str, Tensor]) -> None:
    """Write the whole state; an interrupted write leaves the older file whole."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.items()}
    for number, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{number}.{name}": torch.as_tensor(value) for name, value in moments.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    save_file({name: value.contiguous().clone() for name, value in tensors.items()}, unfinished, {"step": str(step)})
    os.replace(unfinished, path)


def load_state(path: Path, model: nn.Module, optimiser: Optimizer) -> tuple[int, dict[str, Tensor]]:
    """Fill model and optimiser from `path`; the step to go on from and the averaged weights."""
    with safe_open(path, "pt") as file:
        step = int(file.metadata()["step"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    model.load_state_dict(_below(tensors, "model."))
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in _below(tensors, "optimiser.").items():
        number, _, moment = name.partition(".")
        moments.setdefault(int(number), {})[moment] = _laid_out_as(parameters[int(number)], value)
    groups = optimiser.state_dict()["param_groups"]
    for group in groups:
        group["step"] = step  # Muon counts here; optimisers that count per parameter do not look at it
    optimiser.load_state_dict({"state": moments, "param_groups": groups})
    return step, _below(tensors, "average.")


def update_average(average: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    """Exponential moving average of all floating entries, in place; the others are copied."""
    state = model.state_dict()
    floating = [name for name, value in state.items() if value.is_floating_point()]
    with torch.no_grad():
        torch._foreach_lerp_([average[name] for name in floating], [state[name] for name in floating], 1 - decay)
        for name in state.keys() - set(floating):
            average[name].copy_(state[name])


def _laid_out_as(parameter: Tensor, moment: Tensor) -> Tensor:
    """The moment in its parameter's memory order: fused optimisers walk both side by side, whatever their strides."""
    return torch.empty_like(parameter).copy_(moment) if moment.shape == parameter.shape else moment


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
