"""Schedulers by the name a spec gives them."""

from collections.abc import Mapping
from typing import Any

from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler
from touchstone_contracts.problems import Invalid

SCHEDULERS = {"ddim": DDIMScheduler, "dpm_solver": DPMSolverMultistepScheduler, "euler": EulerDiscreteScheduler}


def build_scheduler(name: str, config: Mapping[str, Any]) -> Any:
    """The named scheduler with what the pipeline's own `config` says about its noise: prediction type, betas, timestep
    spacing, zero terminal SNR. Raises Invalid for an unknown name."""
    if name not in SCHEDULERS:
        raise Invalid(f"unknown scheduler {name!r}; there are {sorted(SCHEDULERS)}", code="unknown_scheduler")
    # Latents are not bounded by 1. DDIM clips unless told otherwise, and other schedulers' configs do not tell it.
    return SCHEDULERS[name].from_config({"clip_sample": False, **config})
