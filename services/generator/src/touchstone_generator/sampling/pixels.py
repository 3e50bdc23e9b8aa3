"""From the pipeline's numbers to pixels; what is not finite is an error, never a picture."""

from collections.abc import Callable
from inspect import signature
from typing import Any

import numpy as np
import torch
from PIL import Image
from touchstone_contracts.problems import Invalid

SLICED_DECODING_ABOVE = 256
"""Pixels. A batch of larger images is decoded one image at a time: together they would not fit a usual GPU."""

StepDone = Callable[[int, int], None]
"""Called with the number of denoising steps that are done and that there are; may raise to stop."""


class NonFinite(Invalid):
    """The pipeline answered NaN or infinity. Repeating it cannot help, and a black image would be a lie."""

    code = "generator_diverged"
    title = "The generator diverged"


def require_size(pipeline: Any, image_size: int) -> None:
    """Raises Invalid when the pipeline cannot make square images of that many pixels."""
    if "class_labels" in signature(type(pipeline).__call__).parameters:
        only = pipeline.transformer.config.sample_size * _pixels_of_a_latent(pipeline)
        if image_size != only:
            raise Invalid(f"image size {image_size}: this generator makes images of {only} pixels", code="image_size")
        return
    grid = max(8, _pixels_of_a_latent(pipeline) * _latents_of_a_patch(pipeline))
    if image_size < 1 or image_size % grid:
        raise Invalid(f"image size {image_size} is not a multiple of {grid} pixels", code="image_size")


def _pixels_of_a_latent(pipeline: Any) -> int:
    found = getattr(pipeline, "vae_scale_factor", None)
    return int(found or 2 ** (len(pipeline.vae.config.block_out_channels) - 1))


def _latents_of_a_patch(pipeline: Any) -> int:
    """A side: transformers read latents in patches."""
    transformer = pipeline.components.get("transformer")
    if transformer is None:
        return 1
    if type(pipeline).__name__.startswith("Flux"):
        return 2  # packed by its pipeline, beside the patches of the network
    return int(transformer.config.patch_size)


def to_bytes(images: torch.Tensor) -> np.ndarray:
    """(n, 3, height, width) in [0, 1] -> uint8 (n, height, width, 3), rounded as diffusers does."""
    require_finite(images)
    pixels: np.ndarray = images.float().mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return pixels


def reduced(pixels: np.ndarray, size: int | None) -> np.ndarray:
    """uint8 (height, width, 3) -> (size, size, 3), bicubic over all pixels that an output pixel covers. None, or that
    size already: as it is."""
    if size is None or pixels.shape[:2] == (size, size):
        return pixels
    return np.asarray(Image.fromarray(pixels, "RGB").resize((size, size), Image.Resampling.BICUBIC))


def require_finite(values: torch.Tensor) -> None:
    if not torch.isfinite(values).all():
        raise NonFinite("the generator answered values that are not finite; try another precision or sampler")
