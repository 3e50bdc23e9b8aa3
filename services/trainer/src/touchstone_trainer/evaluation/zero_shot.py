"""The classifier's own head on whole splits (paper section 4.3)."""

from collections.abc import Iterator

import numpy as np
import torch
from touchstone_runtime.serving import ProgressFunction, no_progress

from touchstone_trainer.classifier import ImageClassifier
from touchstone_trainer.pixels import Split

BATCH = 128
PREDICTED = 4096
"""Images whose probabilities exist at once."""


@torch.inference_mode()
def embed_split(
    classifier: ImageClassifier,
    images: Split,
    precision: torch.dtype = torch.float32,
    progress: ProgressFunction = no_progress,
) -> torch.Tensor:
    """L2-normalised float32 features (images, dimension), on the classifier's device."""
    device = classifier.head.weight.device
    classifier.eval()
    found, done = None, 0
    for pixels in images.batches(BATCH):
        with torch.autocast(device.type, dtype=precision, enabled=precision != torch.float32):
            rows = classifier.features(pixels.to(device)).float()
        found = rows.new_empty((len(images), rows.shape[1])) if found is None else found
        found[done : done + len(rows)] = rows
        done += len(rows)
        progress(done, len(images))
    assert found is not None  # no split is empty
    return found


@torch.inference_mode()
def predict(head: torch.nn.Linear, features: torch.Tensor) -> np.ndarray:
    """Top-1 class ids, int32 (images,)."""
    classes: np.ndarray = head(features).argmax(dim=1).cpu().numpy().astype(np.int32)
    return classes


@torch.inference_mode()
def predict_probabilities(head: torch.nn.Linear, features: torch.Tensor) -> Iterator[np.ndarray]:
    """float64, so that certain predictions keep an order; (images, classes), PREDICTED images at a time."""
    # One product for all: its last bits would depend on how it is cut.
    for logits in head(features).split(PREDICTED):
        yield torch.softmax(logits.double(), dim=1).cpu().numpy()


def accuracy(predicted: np.ndarray, class_ids: np.ndarray) -> float:
    """Overall top-1, not the mean per class (paper section 4.3)."""
    return float((predicted == class_ids).mean())
