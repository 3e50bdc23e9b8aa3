"""Schedulers by the name a spec gives them."""

from collections.abc import Mapping
from inspect import signature
from typing import Any

from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)
from touchstone_contracts.problems import Invalid

SCHEDULERS = {
    "ddim": DDIMScheduler,
    "dpm_solver": DPMSolverMultistepScheduler,
    "euler": EulerDiscreteScheduler,
    "pndm": PNDMScheduler,
    "unipc": UniPCMultistepScheduler,
}
PREFERRED = {
    # Latents are not bounded by 1. DDIM clips unless told otherwise, and other schedulers' configs do not tell it.
    "clip_sample": False,
    # PNDM without its Runge-Kutta start is PLMS, as Stable Diffusion uses it.
    "skip_prk_steps": True,
}


def build_scheduler(name: str, config: Mapping[str, Any], own: type | None = None) -> Any:
    """The named scheduler with what the pipeline's own `config` says about its noise: prediction type, betas, timestep
    spacing, zero terminal SNR. `own`: the class that "own" stands for, which takes the config as it is.

    Raises Invalid for an unknown name, and for one that cannot follow that noise."""
    if name == "own" and own is not None:
        return own.from_config(config)  # type: ignore[attr-defined]
    if name not in SCHEDULERS:
        raise Invalid(f"unknown scheduler {name!r}; there are {sorted(SCHEDULERS)}", code="unknown_scheduler")
    scheduler = SCHEDULERS[name]
    if config.get("rescale_betas_zero_snr") and "rescale_betas_zero_snr" not in signature(scheduler).parameters:
        raise Invalid(
            f"scheduler {name!r} has no zero terminal SNR, which this generator was trained with; use ddim",
            code="scheduler_unsuitable",
        )
    return scheduler.from_config({**PREFERRED, **config})
