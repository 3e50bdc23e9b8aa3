"""Noise comes from the generators of single images, never from torch's own."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from touchstone_contracts.problems import Invalid


@contextmanager
def no_shared_randomness(device: torch.device) -> Iterator[None]:
    """Raises Invalid where torch's own random state moved inside: the noise then belongs to a batch and to what the
    process did before, and nobody makes the image again."""
    before = _states(device)
    yield
    if not all(torch.equal(old, new) for old, new in zip(before, _states(device), strict=True)):
        raise Invalid(
            "the generator's scheduler draws noise that belongs to no single image; take another scheduler",
            code="scheduler_unsuitable",
        )


def _states(device: torch.device) -> list[torch.Tensor]:
    return [torch.get_rng_state()] + ([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])
