"""Text to image with classifier-free guidance (paper section 2.2), one fixed-shape batch after another."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from touchstone_contracts.arms.generation import Sampler

from touchstone_generator.sampling.painter import Painter
from touchstone_generator.sampling.seeds import start_noise


@dataclass(frozen=True, slots=True)
class Draft:
    """What one image is made from."""

    prompt: str
    seed: int


class TextToImage(Painter[Draft]):
    """A diffusers StableDiffusionPipeline."""

    def __init__(self, pipeline: Any, sampler: Sampler, image_size: int) -> None:
        super().__init__(pipeline, sampler, image_size)
        self._image_size = image_size

    def _start(self, drafts: Sequence[Draft]) -> dict[str, Any]:
        return {"latents": self._noise(drafts), "height": self._image_size, "width": self._image_size}

    def _noise(self, drafts: Sequence[Draft]) -> torch.Tensor:
        """(batch, latent channels, latent size, latent size) in the UNet's dtype and on its device."""
        noise = torch.stack([start_noise(draft.seed, self._latent_shape) for draft in drafts])
        return noise.to(self._pipeline.device, self._pipeline.unet.dtype)

    @cached_property
    def _latent_shape(self) -> tuple[int, int, int]:
        side = self._image_size // self._pipeline.vae_scale_factor
        return (self._pipeline.unet.config.in_channels, side, side)
