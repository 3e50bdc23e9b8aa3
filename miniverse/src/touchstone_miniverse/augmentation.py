"""Random views of icons: position, a gentle wave, light. No mirror: flags and arrows have sides."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def augment(images: Tensor, side: int, rng: np.random.Generator) -> Tensor:
    """(n, 64, 64, 3) uint8 to (n, 3, side, side) float in [0, 1], each image moved, bent and lit at random."""
    return _relight(move_and_bend(images, side, rng), rng).clamp(0, 1)


def move_and_bend(images: Tensor, side: int, rng: np.random.Generator, strength: float = 1.0) -> Tensor:
    """(n, 64, 64, 3) uint8 to (n, 3, side, side) float in [0, 1], each image moved and bent by its own random view."""
    floats = images.permute(0, 3, 1, 2).float() / 255
    # Sampled as darkness, so that what lies outside of the picture comes out white.
    grid = _grid(len(images), side, rng, strength)
    return 1 - F.grid_sample(1 - floats, grid, mode="bilinear", align_corners=False)


def _grid(count: int, side: int, rng: np.random.Generator, strength: float) -> Tensor:
    """Sampling grid (count, side, side, 2): rotation, scale, shear, shift, and a wave as cloth in wind has."""
    angle = strength * rng.normal(0, np.radians(7), count)
    scale = np.exp(0.05 + strength * rng.normal(0, 0.12, (2, count)))
    shear = strength * rng.normal(0, 0.06, count)
    shift = strength * rng.normal(0, 0.07, (2, count))
    affine = np.stack(
        [
            np.stack([np.cos(angle) * scale[0], -np.sin(angle) * scale[0] + shear, shift[0]], -1),
            np.stack([np.sin(angle) * scale[1], np.cos(angle) * scale[1], shift[1]], -1),
        ],
        1,
    )
    grid = F.affine_grid(torch.from_numpy(affine).float(), [count, 3, side, side], align_corners=False)
    height = torch.from_numpy(strength * np.abs(rng.normal(0, 0.05, (count, 1, 1)))).float()
    phase = torch.from_numpy(rng.uniform(0, 2 * np.pi, (count, 1, 1))).float()
    length = torch.from_numpy(rng.uniform(2, 4.5, (count, 1, 1))).float()
    wave = height * torch.sin(length * grid[..., 0] + phase)
    return torch.stack([grid[..., 0], grid[..., 1] + wave], -1)


def _relight(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Brightness, contrast and a slight tint, each image its own."""
    count = len(images)
    gain = torch.from_numpy(rng.normal(1, 0.12, (count, 1, 1, 1))).float()
    tint = torch.from_numpy(rng.normal(1, 0.05, (count, 3, 1, 1))).float()
    offset = torch.from_numpy(rng.normal(0, 0.05, (count, 1, 1, 1))).float()
    return images * gain * tint + offset
