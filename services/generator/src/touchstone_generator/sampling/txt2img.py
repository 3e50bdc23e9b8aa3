"""Text to image with classifier-free guidance (paper section 2.2), one fixed-shape batch after another."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from touchstone_contracts.arms.generation import Sampler
from touchstone_contracts.problems import Invalid

from touchstone_generator.sampling.seeds import start_noise

SLICED_DECODING_ABOVE = 256
"""Pixels. A batch of larger images is decoded one image at a time: together they would not fit a usual GPU."""

StepDone = Callable[[int], None]
"""Called with the number of denoising steps that are done; may raise to stop."""


class NonFinite(Invalid):
    """The pipeline answered NaN or infinity. Repeating it cannot help, and a black image would be a lie."""

    code = "generator_diverged"
    title = "The generator diverged"


@dataclass(frozen=True, slots=True)
class Draft:
    """What one image is made from."""

    prompt: str
    seed: int


class TextToImage:
    """A diffusers StableDiffusionPipeline with a sampler, for square images of one size.

    `pipeline` is used as it is: its scheduler must be the sampler's. Each distinct prompt is encoded once."""

    def __init__(self, pipeline: Any, sampler: Sampler, image_size: int) -> None:
        """`image_size` in pixels. Raises Invalid when the pipeline cannot make that size."""
        grid = max(8, pipeline.vae_scale_factor)
        if image_size < 1 or image_size % grid:
            raise Invalid(f"image size {image_size} is not a multiple of {grid} pixels", code="image_size")
        self._pipeline, self._sampler, self._image_size = pipeline, sampler, image_size
        self._embeddings: dict[str, torch.Tensor] = {}
        pipeline.vae.use_slicing = image_size > SLICED_DECODING_ABOVE

    def draw(self, drafts: Sequence[Draft], slot: int, step_done: StepDone) -> np.ndarray:
        """uint8 images (len(drafts), size, size, 3); the drafts take the slots from `slot` on. Raises NonFinite."""
        batch = self._sampler.batch_size
        # The rest of the batch is padding; its images are dropped.
        slots = [drafts[0]] * slot + list(drafts) + [drafts[-1]] * (batch - slot - len(drafts))
        with torch.inference_mode():
            images = self._pipeline(
                **self._text_conditions([draft.prompt for draft in slots]),
                latents=self._noise(slots),
                height=self._image_size,
                width=self._image_size,
                num_inference_steps=self._sampler.steps,
                guidance_scale=self._sampler.guidance_scale,
                output_type="pt",
                callback_on_step_end=_watch(self._sampler.steps, slice(slot, slot + len(drafts)), step_done),
            ).images
        return _to_bytes(images[slot : slot + len(drafts)])

    def _text_conditions(self, prompts: Sequence[str]) -> dict[str, torch.Tensor]:
        conditions = {"prompt_embeds": torch.cat([self._embed(prompt) for prompt in prompts])}
        if self._sampler.guidance_scale > 1:  # diffusers guides above 1 only
            negative = self._embed(self._sampler.negative_prompt)
            conditions["negative_prompt_embeds"] = negative.expand(len(prompts), -1, -1)
        return conditions

    def _embed(self, prompt: str) -> torch.Tensor:
        """(1, tokens, width). Always encoded alone: a prompt's numbers must not depend on its company."""
        if prompt not in self._embeddings:
            encoded, _ = self._pipeline.encode_prompt(
                prompt, self._pipeline.device, num_images_per_prompt=1, do_classifier_free_guidance=False
            )
            self._embeddings[prompt] = encoded
        return self._embeddings[prompt]

    def _noise(self, drafts: Sequence[Draft]) -> torch.Tensor:
        """(batch, latent channels, latent size, latent size) in the UNet's dtype and on its device."""
        noise = torch.stack([start_noise(draft.seed, self._latent_shape) for draft in drafts])
        return noise.to(self._pipeline.device, self._pipeline.unet.dtype)

    @cached_property
    def _latent_shape(self) -> tuple[int, int, int]:
        side = self._image_size // self._pipeline.vae_scale_factor
        return (self._pipeline.unet.config.in_channels, side, side)


def _watch(steps: int, wanted: slice, step_done: StepDone) -> Callable[..., dict[str, Any]]:
    def on_step_end(_: Any, step: int, __: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        # Looked at before decoding: a codec that squashes its input would turn infinity into a picture.
        if step + 1 == steps:
            _require_finite(tensors["latents"][wanted])
        step_done(step + 1)
        return {}

    return on_step_end


def _to_bytes(images: torch.Tensor) -> np.ndarray:
    """(n, 3, height, width) in [0, 1] -> uint8 (n, height, width, 3), rounded as diffusers does."""
    _require_finite(images)
    pixels: np.ndarray = images.float().mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return pixels


def _require_finite(values: torch.Tensor) -> None:
    if not torch.isfinite(values).all():
        raise NonFinite("the generator answered values that are not finite; try another precision or sampler")
