"""Class means of image features mixed into the text head; nothing is trained (Neural Priming, arXiv 2306.10191)."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from touchstone_contracts.recipes.head_only import HeadOnly
from touchstone_contracts.steps import EpochScore

from touchstone_trainer.classifier import text_head
from touchstone_trainer.evaluation.zero_shot import accuracy, embed_split, predict
from touchstone_trainer.pixels import as_evaluated
from touchstone_trainer.recipes.class_mean_head import mean_directions
from touchstone_trainer.recipes.gradient import Run
from touchstone_trainer.recipes.loop import Adapted
from touchstone_trainer.recipes.subject import Data, Subject


def mix_head(subject: Subject, data: Data, recipe: HeadOnly, run: Run) -> Adapted:
    """Images as in evaluation: one view, no augmentation. A class without images keeps its text."""
    training = as_evaluated(data.training, subject.encoder, data.loader)
    features = embed_split(subject.classifier, training, progress=run.progress)
    text = functional.normalize(subject.classifier.head.weight.detach(), dim=-1)
    means = mean_directions(features, training.class_ids, len(subject.classes))
    means = torch.where(means.any(dim=-1, keepdim=True), means, text)
    validation = data.untouched_validation(subject.classifier)
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


def _mixed(subject: Subject, text: torch.Tensor, means: torch.Tensor, weight: float) -> nn.Linear:
    vectors = functional.normalize((1 - weight) * text + weight * means, dim=-1)
    return text_head(subject.encoder, vectors.cpu().numpy()).to(text.device)
