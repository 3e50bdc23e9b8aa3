"""Labels that are not one class: weighed by the arm an image is from, and mixed with those of other images.

Both are rows (batch, classes) for the cross-entropy, which is linear in them: a label of 2 counts twice."""

import numpy as np
import torch
from torch.nn.functional import one_hot
from torchvision.transforms.v2 import CutMix as CutMixTransform
from torchvision.transforms.v2 import MixUp as MixUpTransform
from touchstone_contracts.arms.mixture import Mixing
from touchstone_contracts.identity import derive_seed
from touchstone_contracts.recipes.class_labels import BatchAugmentation, CutMix


def loss_weights(parts: np.ndarray, mixing: Mixing | None) -> np.ndarray | None:
    """float32 (images,) with a mean of 1: the weight of each image's part; None where none is stated."""
    if mixing is None or not mixing.loss_weights:
        return None
    weights = np.array(mixing.loss_weights)[parts]
    scaled: np.ndarray = (weights / weights.mean()).astype(np.float32)
    return scaled


def weighed(class_ids: torch.Tensor, weights: np.ndarray, classes: int) -> torch.Tensor:
    """(batch,) class ids -> float32 (batch, classes): an image's weight in the column of its class."""
    return one_hot(class_ids, classes) * torch.from_numpy(weights)[:, None]


def mixed(
    pixels: torch.Tensor, labels: torch.Tensor, augmentation: BatchAugmentation, classes: int, *purpose: object
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels (batch, 3, size, size) and labels (batch,) or (batch, classes), mixed by torchvision with the randomness
    of `purpose`; as they came where the batch is not drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(*purpose))
        if torch.rand(()) >= augmentation.probability:
            return pixels, labels
        if isinstance(augmentation, CutMix):
            transform = CutMixTransform(alpha=augmentation.alpha, num_classes=classes)
        else:
            transform, pixels = MixUpTransform(alpha=augmentation.alpha, num_classes=classes), pixels.float()
        both: tuple[torch.Tensor, torch.Tensor] = transform(pixels, labels)
        return both
