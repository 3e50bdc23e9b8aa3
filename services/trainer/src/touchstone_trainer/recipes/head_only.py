"""Class means of image features mixed into the text head; nothing is trained (Neural Priming, arXiv 2306.10191)."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from touchstone_contracts.catalogue import ClassLabel
from touchstone_contracts.problems import Invalid
from touchstone_contracts.recipes.head_only import HeadOnly
from touchstone_contracts.steps import EpochScore
from touchstone_runtime.serving import ProgressFunction, no_progress

from touchstone_trainer.classifier import text_head
from touchstone_trainer.evaluation.zero_shot import accuracy, embed_split, predict
from touchstone_trainer.pixels import as_evaluated
from touchstone_trainer.recipes.class_mean_head import mean_directions
from touchstone_trainer.recipes.loop import Adapted
from touchstone_trainer.recipes.subject import Data, Subject


class ClassWithoutImages(Invalid):
    code = "class_without_images"
    title = "Class without images"


def mix_head(subject: Subject, data: Data, recipe: HeadOnly, progress: ProgressFunction = no_progress) -> Adapted:
    """Raises ClassWithoutImages. Images as in evaluation: one view, no augmentation."""
    training = as_evaluated(data.training, subject.encoder)
    features = embed_split(subject.classifier, training, progress=progress)
    means = class_means(features, training.class_ids, subject.classes)
    validation = embed_split(subject.classifier, data.validation)
    text = functional.normalize(subject.classifier.head.weight.detach(), dim=-1)
    heads = [_mixed(subject, text, means, weight) for weight in sorted(recipe.mixing_weights)]
    scores = [accuracy(predict(head, validation), data.validation.class_ids) for head in heads]
    best = int(np.argmax(scores))
    labels = torch.from_numpy(training.class_ids.astype(np.int64)).to(features.device)
    with torch.no_grad():
        loss = float(functional.cross_entropy(heads[best](features), labels))
    return Adapted(
        weights={f"head.{name}": value.cpu().contiguous() for name, value in heads[best].state_dict().items()},
        best_epoch=1,
        epochs=(EpochScore(epoch=1, train_loss=loss, validation_accuracy=scores[best]),),
        updates=0,
        peak_lr_fraction=None,
        mixing_weight=sorted(recipe.mixing_weights)[best],
    )


def class_means(features: torch.Tensor, class_ids: np.ndarray, classes: Sequence[ClassLabel]) -> torch.Tensor:
    """L2-normalised means of L2-normalised features, (classes, dimension). Raises ClassWithoutImages."""
    counts = np.bincount(class_ids, minlength=len(classes))
    if empty := [label.display_name for label, count in zip(classes, counts, strict=True) if count == 0]:
        raise ClassWithoutImages(
            f"head_only needs an image of every class, there are none of {empty[:10]}: raise the size or drop the class"
        )
    return mean_directions(features, class_ids, len(classes))


def _mixed(subject: Subject, text: torch.Tensor, means: torch.Tensor, weight: float) -> nn.Linear:
    vectors = functional.normalize((1 - weight) * text + weight * means, dim=-1)
    return text_head(subject.encoder, vectors.cpu().numpy()).to(text.device)
