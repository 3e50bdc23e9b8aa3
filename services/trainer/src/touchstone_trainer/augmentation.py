"""RandomResizedCrop on decoded pixels: the boxes are drawn for all images at once from an explicit generator."""

import math
from typing import NamedTuple

import numpy as np
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import resized_crop

ASPECT = (3 / 4, 4 / 3)
TRIES = 10


class Boxes(NamedTuple):
    """Crop boxes in pixels, each array (images,)."""

    top: np.ndarray
    left: np.ndarray
    height: np.ndarray
    width: np.ndarray


def draw_crop_boxes(heights: np.ndarray, widths: np.ndarray, crop_scale: float, rng: np.random.Generator) -> Boxes:
    """The same distribution as torchvision's RandomResizedCrop(scale=(crop_scale, 1), ratio=ASPECT).

    Area uniform, aspect log-uniform, up to ten tries until the box fits, then the largest central box with an allowed
    aspect. Vectorised over images; every image consumes ten tries, so one image's draw never shifts another's."""
    count = len(heights)
    shape = (count, TRIES)
    area = (heights * widths)[:, None] * rng.uniform(crop_scale, 1.0, size=shape)
    aspect = np.exp(rng.uniform(math.log(ASPECT[0]), math.log(ASPECT[1]), size=shape))
    tried_widths = np.rint(np.sqrt(area * aspect)).astype(np.int64)
    tried_heights = np.rint(np.sqrt(area / aspect)).astype(np.int64)
    fits = (tried_widths > 0) & (tried_widths <= widths[:, None])
    fits &= (tried_heights > 0) & (tried_heights <= heights[:, None])
    first = fits.argmax(axis=1)
    rows = np.arange(count)
    central_heights, central_widths = _largest_allowed(heights, widths)
    fitting = fits[rows, first]
    box_heights = np.where(fitting, tried_heights[rows, first], central_heights)
    box_widths = np.where(fitting, tried_widths[rows, first], central_widths)
    top, left = (
        np.where(fitting, rng.integers(0, room + 1), room // 2) for room in (heights - box_heights, widths - box_widths)
    )
    return Boxes(top, left, box_heights, box_widths)


def _largest_allowed(heights: np.ndarray, widths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    too_wide = widths / heights > ASPECT[1]
    too_tall = widths / heights < ASPECT[0]
    return (
        np.where(too_tall, np.rint(widths / ASPECT[0]).astype(np.int64), heights),
        np.where(too_wide, np.rint(heights * ASPECT[1]).astype(np.int64), widths),
    )


def crop_and_resize(pixels: torch.Tensor, boxes: Boxes, index: int, image_size: int) -> torch.Tensor:
    """Cuts box `index` from uint8 (3, h, w) and resizes it, bicubic with antialiasing as Pillow does."""
    crop: torch.Tensor = resized_crop(
        pixels,
        int(boxes.top[index]),
        int(boxes.left[index]),
        int(boxes.height[index]),
        int(boxes.width[index]),
        [image_size, image_size],
        interpolation=InterpolationMode.BICUBIC,
        antialias=True,
    )
    return crop
