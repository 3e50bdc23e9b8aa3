"""Noise that belongs to one image, wherever and with whatever else it is generated (paper section 2.2: there, images
depend on the batch size, the number of jobs and the point of resume)."""

import torch
from touchstone_contracts.identity import derive_seed


def image_seed(seed: int, prompt_id: str, index: int) -> int:
    """63 bits; stored with the image."""
    return derive_seed(seed, prompt_id, index)


def perturbation_seed(seed: int, parent: str) -> int:
    """63 bits; the same for every gamma."""
    return derive_seed(seed, "perturb", parent)


def noise_source(seed: int) -> torch.Generator:
    """On the CPU, whose generator gives the same numbers beside every device."""
    return torch.Generator("cpu").manual_seed(seed)
