"""Text to image with classifier-free guidance (paper section 2.2), one fixed-shape batch after another."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from touchstone_contracts.arms.generation import Sampler

from touchstone_generator.execution import compute_device
from touchstone_generator.sampling.painter import Painter
from touchstone_generator.sampling.seeds import noise_source


@dataclass(frozen=True, slots=True)
class Draft:
    """What one image is made from."""

    prompt: str
    seed: int


class TextToImage(Painter[Draft]):
    """A text-to-image or class-conditional pipeline."""

    def __init__(self, pipeline: Any, sampler: Sampler, image_size: int) -> None:
        super().__init__(pipeline, sampler, image_size)
        self._image_size = image_size

    def _start(self, drafts: Sequence[Draft]) -> dict[str, Any]:
        # Start noise first, then what a scheduler that adds noise at its steps asks for.
        generators = [noise_source(draft.seed) for draft in drafts]
        if not isinstance(self._pipeline, StableDiffusionPipeline):
            return self._fitting({"generator": generators, "height": self._image_size, "width": self._image_size})
        noise = torch.stack([torch.randn(self._latent_shape, generator=generator) for generator in generators])
        return {
            # In full precision before it is rounded, which diffusers' own draw is not.
            "latents": noise.to(compute_device(self._pipeline), self._pipeline.unet.dtype),
            "generator": generators,
            "height": self._image_size,
            "width": self._image_size,
        }

    @cached_property
    def _latent_shape(self) -> tuple[int, int, int]:
        side = self._image_size // self._pipeline.vae_scale_factor
        return (self._pipeline.unet.config.in_channels, side, side)
