"""The classifier's own head on whole splits (paper section 4.3)."""

import numpy as np
import torch
from touchstone_runtime.serving import ProgressFunction, no_progress

from touchstone_trainer.classifier import ImageClassifier
from touchstone_trainer.pixels import EvaluationImages

BATCH = 128


@torch.inference_mode()
def embed_split(
    classifier: ImageClassifier,
    images: EvaluationImages,
    precision: torch.dtype = torch.float32,
    progress: ProgressFunction = no_progress,
) -> torch.Tensor:
    """L2-normalised float32 features (images, dimension), on the classifier's device."""
    device = classifier.head.weight.device
    classifier.eval()
    rows = []
    for start in range(0, len(images), BATCH):
        pixels = images.pixels[start : start + BATCH].to(device)
        with torch.autocast(device.type, dtype=precision, enabled=precision != torch.float32):
            rows.append(classifier.features(pixels).float())
        progress(min(start + BATCH, len(images)), len(images))
    return torch.cat(rows)


@torch.inference_mode()
def predict(head: torch.nn.Linear, features: torch.Tensor) -> np.ndarray:
    """Top-1 class ids, int32 (images,)."""
    classes: np.ndarray = head(features).argmax(dim=1).cpu().numpy().astype(np.int32)
    return classes


@torch.inference_mode()
def predict_probabilities(head: torch.nn.Linear, features: torch.Tensor) -> np.ndarray:
    """float64, so that certain predictions keep an order; (images, classes)."""
    probabilities: np.ndarray = torch.softmax(head(features).double(), dim=1).cpu().numpy()
    return probabilities


def accuracy(predicted: np.ndarray, class_ids: np.ndarray) -> float:
    """Overall top-1, not the mean per class (paper section 4.3)."""
    return float((predicted == class_ids).mean())
