"""Image to image: noise an image part of the way and denoise it again (SDEdit; paper section 2.3)."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionImg2ImgPipeline
from PIL import Image
from touchstone_contracts.arms.generation import Sampler

from touchstone_generator.sampling.batches import filled
from touchstone_generator.sampling.conditions import TextConditions
from touchstone_generator.sampling.pixels import SLICED_DECODING_ABOVE, StepDone, require_size, to_bytes, watch
from touchstone_generator.sampling.text_layers import text_computed_once


@dataclass(frozen=True, slots=True)
class Sketch:
    """What one perturbed image is made from."""

    pixels: np.ndarray
    """uint8 (size, size, 3)"""
    prompt: str
    seed: int


def squash(image: bytes, size: int) -> np.ndarray:
    """uint8 (size, size, 3): RGB, bicubic, without regard to the aspect, as the paper does. An image of that size
    already keeps its pixels."""
    with Image.open(io.BytesIO(image)) as opened:
        rgb = opened.convert("RGB")
    return np.asarray(rgb.resize((size, size), Image.Resampling.BICUBIC) if rgb.size != (size, size) else rgb)


class ImageToImage:
    """The parts of a StableDiffusionPipeline as diffusers' img2img, for square images of one size.

    `pipeline` is used as it is: its scheduler must be the sampler's. An image's noise comes from its own seed and not
    from `gamma`, so that a sweep shows one image go further and further along the same way."""

    def __init__(self, pipeline: Any, sampler: Sampler, image_size: int, gamma: float) -> None:
        """0 < `gamma` <= 1. Raises Invalid when the pipeline cannot make `image_size` pixels."""
        require_size(pipeline, image_size)
        pipeline.vae.use_slicing = image_size > SLICED_DECODING_ABOVE
        self._sampler, self._gamma = sampler, gamma
        self._conditions = TextConditions(pipeline, sampler)
        self._perturb = StableDiffusionImg2ImgPipeline(**pipeline.components, requires_safety_checker=False)
        self._perturb.set_progress_bar_config(disable=True)

    def draw(self, sketches: Sequence[Sketch], slot: int, step_done: StepDone) -> np.ndarray:
        """uint8 images (len(sketches), size, size, 3); the sketches take the slots from `slot` on. Raises NonFinite."""
        slots = filled(sketches, slot, self._sampler.batch_size)
        wanted = slice(slot, slot + len(sketches))
        with torch.inference_mode(), text_computed_once(self._perturb.unet):
            images = self._perturb(
                **self._conditions.of([sketch.prompt for sketch in slots]),
                image=_to_unit(np.stack([sketch.pixels for sketch in slots])),
                strength=self._gamma,
                generator=[torch.Generator("cpu").manual_seed(sketch.seed) for sketch in slots],
                num_inference_steps=self._sampler.steps,
                guidance_scale=self._sampler.guidance_scale,
                output_type="pt",
                callback_on_step_end=watch(wanted, step_done),
            ).images
        return to_bytes(images[wanted])


def _to_unit(pixels: np.ndarray) -> torch.Tensor:
    """uint8 (n, size, size, 3) -> float32 (n, 3, size, size) in [0, 1]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
