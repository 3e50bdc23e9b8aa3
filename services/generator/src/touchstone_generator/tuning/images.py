"""The few images a generator is tuned on."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from touchstone_contracts.catalogue import ClassLabel
from touchstone_contracts.problems import Invalid
from touchstone_runtime.randomness import rng_for

from touchstone_generator.prompts.templates import fill
from touchstone_generator.sampling.img2img import squash
from touchstone_generator.tuning.lora import TuningSet


def draw_tuning_images(class_ids: np.ndarray, images_per_class: int, seed: int, only: int | None = None) -> np.ndarray:
    """Rows of at most `images_per_class` images of each class, class after class; more images per class keep the
    earlier ones. `only`: those of that class, which may have none.

    Raises Invalid when no class has any."""
    drawn = [
        np.flatnonzero(class_ids == label)[
            rng_for(seed, "tuning", int(label)).permutation(int((class_ids == label).sum()))[:images_per_class]
        ]
        for label in (np.unique(class_ids) if only is None else (only,))
    ]
    if not drawn:
        raise Invalid("there is no image to tune the generator on", code="no_tuning_images")
    return np.concatenate(drawn)


def tuning_set(
    images: Iterable[bytes],
    class_ids: Sequence[int],
    classes: Sequence[ClassLabel],
    templates: Sequence[str],
    image_size: int,
) -> TuningSet:
    """Encoded images squashed to the generator's square, with the templates in turn as prompts."""
    squashed = (torch.from_numpy(squash(image, image_size).copy()) for image in images)
    pixels = (image.permute(2, 0, 1).float() / 127.5 - 1 for image in squashed)
    prompts = [fill(templates[number % len(templates)], classes[class_id]) for number, class_id in enumerate(class_ids)]
    return TuningSet(pixels, prompts)
