"""Text to image with classifier-free guidance (paper section 2.2), one fixed-shape batch after another."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from touchstone_contracts.arms.generation import Sampler

from touchstone_generator.sampling.batches import filled
from touchstone_generator.sampling.conditions import TextConditions
from touchstone_generator.sampling.pixels import SLICED_DECODING_ABOVE, StepDone, require_size, to_bytes, watch
from touchstone_generator.sampling.seeds import start_noise
from touchstone_generator.sampling.text_layers import text_computed_once


@dataclass(frozen=True, slots=True)
class Draft:
    """What one image is made from."""

    prompt: str
    seed: int


class TextToImage:
    """A diffusers StableDiffusionPipeline with a sampler, for square images of one size.

    `pipeline` is used as it is: its scheduler must be the sampler's."""

    def __init__(self, pipeline: Any, sampler: Sampler, image_size: int) -> None:
        """`image_size` in pixels. Raises Invalid when the pipeline cannot make that size."""
        require_size(pipeline, image_size)
        self._pipeline, self._sampler, self._image_size = pipeline, sampler, image_size
        self._conditions = TextConditions(pipeline, sampler)
        pipeline.vae.use_slicing = image_size > SLICED_DECODING_ABOVE

    def draw(self, drafts: Sequence[Draft], slot: int, step_done: StepDone) -> np.ndarray:
        """uint8 images (len(drafts), size, size, 3); the drafts take the slots from `slot` on. Raises NonFinite."""
        slots = filled(drafts, slot, self._sampler.batch_size)
        wanted = slice(slot, slot + len(drafts))
        with torch.inference_mode(), text_computed_once(self._pipeline.unet):
            images = self._pipeline(
                **self._conditions.of([draft.prompt for draft in slots]),
                latents=self._noise(slots),
                height=self._image_size,
                width=self._image_size,
                num_inference_steps=self._sampler.steps,
                guidance_scale=self._sampler.guidance_scale,
                output_type="pt",
                callback_on_step_end=watch(wanted, step_done),
            ).images
        return to_bytes(images[wanted])

    def _noise(self, drafts: Sequence[Draft]) -> torch.Tensor:
        """(batch, latent channels, latent size, latent size) in the UNet's dtype and on its device."""
        noise = torch.stack([start_noise(draft.seed, self._latent_shape) for draft in drafts])
        return noise.to(self._pipeline.device, self._pipeline.unet.dtype)

    @cached_property
    def _latent_shape(self) -> tuple[int, int, int]:
        side = self._image_size // self._pipeline.vae_scale_factor
        return (self._pipeline.unet.config.in_channels, side, side)
