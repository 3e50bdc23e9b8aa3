"""Where a head starts that no text can give: at the class means of the training images' features."""

import numpy as np
import torch
from torch.nn import functional
from touchstone_runtime.serving import ProgressFunction, no_progress

from touchstone_trainer.evaluation.zero_shot import embed_split
from touchstone_trainer.pixels import as_evaluated
from touchstone_trainer.recipes.subject import Data, Subject

SCALE = 100.0
"""CLIP's largest logit scale, so that learning rates mean about the same as from a text head."""


def start_from_class_means(subject: Subject, data: Data, progress: ProgressFunction = no_progress) -> None:
    """Fills the head of `subject.classifier`; a class without images starts at 0."""
    head = subject.classifier.head
    training = as_evaluated(data.training, subject.tower, data.loader)
    features = embed_split(subject.classifier, training, progress=progress)
    with torch.no_grad():
        head.weight.copy_(SCALE * mean_directions(features, data.training.class_ids, head.out_features))


def mean_directions(features: torch.Tensor, class_ids: np.ndarray, classes: int) -> torch.Tensor:
    """L2-normalised means of L2-normalised features, (classes, dimension); 0 for a class without images."""
    sums = torch.zeros(classes, features.shape[1], device=features.device)
    sums.index_add_(0, torch.from_numpy(class_ids.astype(np.int64)).to(features.device), features)
    return functional.normalize(sums, dim=-1)
