"""Curves as they might have come out with other seeds and other test images."""

import math

import numpy as np
import numpy.typing as npt

from touchstone_verdict.curves import Curve

Array = npt.NDArray[np.float64]
DRAWS = 1000


def draw_images(images: int, rng: np.random.Generator) -> Array:
    """(draws, images): weights of test images drawn with replacement; arms share them, as they share the images."""
    return rng.multinomial(images, np.full(images, 1 / images), size=DRAWS) / images


def redrawn(curve: Curve, image_weights: Array, rng: np.random.Generator) -> Array:
    """(draws, sizes): mean accuracies over seeds drawn with replacement and test images of the given weights.

    Means of R values drawn with replacement vary less than means of R new seeds, by the factor (R - 1) / R in their
    variance; the draws are spread by its inverse. One seed shows no variation between seeds."""
    by_seed = curve.correct.astype(np.float64) @ image_weights.T
    seeds = curve.correct.shape[1]
    drawn = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=len(image_weights)) / seeds
    spread = math.sqrt(seeds / (seeds - 1)) if seeds > 1 else 1.0
    seed_weights = 1 / seeds + spread * (drawn - 1 / seeds)
    redrawn: Array = np.einsum("zsk,ks->kz", by_seed, seed_weights)
    return redrawn
