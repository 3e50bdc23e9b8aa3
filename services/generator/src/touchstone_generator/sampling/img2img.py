"""Image to image: noise an image part of the way and denoise it again (SDEdit; paper section 2.3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import AutoPipelineForImage2Image
from PIL import Image
from touchstone_contracts.arms.generation import Sampler
from touchstone_contracts.families import pipelines
from touchstone_contracts.problems import Invalid, in_words
from touchstone_runtime.decoding import decode_image

from touchstone_generator.sampling.painter import Painter
from touchstone_generator.sampling.seeds import noise_source


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
    """The parts of a text-to-image pipeline as diffusers' image-to-image pipeline of the same family.

    An image's noise comes from its own seed and not from `gamma`, so that a sweep shows one image go further and
    further along the same way."""

    def __init__(self, pipeline: Any, sampler: Sampler, image_size: int, gamma: float) -> None:
        """0 < `gamma` <= 1. Raises Invalid where the family has no image to image."""
        perturb = _image_to_image(pipeline)
        perturb.set_progress_bar_config(disable=True)
        super().__init__(perturb, sampler, image_size)
        self._gamma, self._image_size = gamma, image_size

    def _start(self, drafts: Sequence[Sketch]) -> dict[str, Any]:
        return self._fitting(
            {
                "image": _to_unit(np.stack([sketch.pixels for sketch in drafts])),
                "strength": self._gamma,
                "generator": [noise_source(sketch.seed) for sketch in drafts],
                "height": self._image_size,
                "width": self._image_size,
            }
        )


def _image_to_image(pipeline: Any) -> Any:
    name = type(pipeline).__name__
    family = pipelines().get(name)
    if family is None or not family.perturbs:
        able = in_words(sorted(known for known, other in pipelines().items() if other.perturbs), "or")
        raise Invalid(f"a {name} has no image to image; perturb with a {able}", code="perturbation_unsupported")
    return AutoPipelineForImage2Image.from_pipe(pipeline)


def _to_unit(pixels: np.ndarray) -> torch.Tensor:
    """uint8 (n, size, size, 3) -> float32 (n, 3, size, size) in [0, 1]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
