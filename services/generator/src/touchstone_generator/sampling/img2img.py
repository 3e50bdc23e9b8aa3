"""Image to image: noise an image part of the way and denoise it again (SDEdit; paper section 2.3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionImg2ImgPipeline
from PIL import Image
from touchstone_contracts.arms.generation import Sampler
from touchstone_runtime.decoding import decode_image

from touchstone_generator.sampling.painter import Painter


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
    rgb = decode_image(image)
    return np.asarray(rgb.resize((size, size), Image.Resampling.BICUBIC) if rgb.size != (size, size) else rgb)


class ImageToImage(Painter[Sketch]):
    """The parts of a StableDiffusionPipeline as diffusers' img2img.

    An image's noise comes from its own seed and not from `gamma`, so that a sweep shows one image go further and
    further along the same way."""

    def __init__(self, pipeline: Any, sampler: Sampler, image_size: int, gamma: float) -> None:
        """0 < `gamma` <= 1."""
        perturb = StableDiffusionImg2ImgPipeline(**pipeline.components, requires_safety_checker=False)
        perturb.set_progress_bar_config(disable=True)
        super().__init__(perturb, sampler, image_size)
        self._gamma = gamma

    def _start(self, drafts: Sequence[Sketch]) -> dict[str, Any]:
        return {
            "image": _to_unit(np.stack([sketch.pixels for sketch in drafts])),
            "strength": self._gamma,
            "generator": [torch.Generator("cpu").manual_seed(sketch.seed) for sketch in drafts],
        }


def _to_unit(pixels: np.ndarray) -> torch.Tensor:
    """uint8 (n, size, size, 3) -> float32 (n, 3, size, size) in [0, 1]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
