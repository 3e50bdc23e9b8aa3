"""The classifier that is adapted: an image tower and a linear head that starts as the text's zero-shot vectors."""

import copy

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from touchstone_encoders.loading import LoadedEncoder, LoadedTower


class ImageClassifier(nn.Module):
    """uint8 pixels -> class logits. Normalises pixels on the device, features to length one (paper section 4.2)."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, tower: nn.Module, head: nn.Linear, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.tower, self.head = tower, head
        # Not part of the weights: they belong to the encoder's preprocessing.
        self.register_buffer("mean", 255 * torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 (images, 3, size, size) -> L2-normalised (images, dimension)."""
        inputs = ((pixels.float() - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        return functional.normalize(self.tower(inputs), dim=-1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.features(pixels))
        return logits

    def train(self, mode: bool = True) -> "ImageClassifier":
        """Batch-norm layers keep the encoder's statistics: those of a small set or a last batch of one are noise.

        The paper's ViT has none; their scales and shifts are trained like every other weight."""
        super().train(mode)
        keep_batch_statistics(self)
        return self


def keep_batch_statistics(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def text_head(encoder: LoadedEncoder, class_vectors: np.ndarray) -> nn.Linear:
    """Weights = L2-normalised text vectors (classes, dimension) x exp(logit_scale), bias 0 (paper section 4.2).

    A logit bias (SigLIP) adds the same to every class: it changes neither a softmax nor the best class."""
    classes, dimension = class_vectors.shape
    head = nn.Linear(dimension, classes)
    with torch.no_grad():
        scale = encoder.model.logit_scale.exp().cpu()
        head.weight.copy_(torch.from_numpy(class_vectors) * scale)
        head.bias.zero_()
    return head


def zero_shot_classifier(encoder: LoadedEncoder, class_vectors: np.ndarray) -> ImageClassifier:
    """The untouched encoder as a classifier: a copy, so that training it leaves the shared encoder as it is."""
    return _classifier(encoder, text_head(encoder, class_vectors))


def untaught_classifier(tower: LoadedTower, classes: int) -> ImageClassifier:
    """As `zero_shot_classifier` of a tower without text: its head knows nothing and is 0."""
    with torch.inference_mode():
        blank = torch.zeros(1, 3, tower.image_size, tower.image_size, device=tower.device)
        dimension = tower.visual(blank).shape[1]
    head = nn.Linear(dimension, classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return _classifier(tower, head)


def _classifier(tower: LoadedTower, head: nn.Linear) -> ImageClassifier:
    classifier = ImageClassifier(copy.deepcopy(tower.visual), head, tower.mean, tower.std)
    # channels_last makes convolutions about a third faster on CPUs and leaves transformers as they are.
    return classifier.to(tower.device).to(memory_format=torch.channels_last).eval()
