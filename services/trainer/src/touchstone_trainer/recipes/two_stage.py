"""Tower and head on the arm's images, then the head alone on the target's own: SWAT, arXiv 2406.11148.

The second stage is a run like any other, with crops and validation after every epoch: SWAT's code embeds the few images
once and keeps the last epoch, since it holds no validation images back."""

from dataclasses import replace
from typing import Self

import torch
from touchstone_contracts.identity import derive_seed
from touchstone_contracts.problems import Invalid
from touchstone_contracts.recipes.two_stage import TwoStage

from touchstone_trainer.checkpoints import set_weights
from touchstone_trainer.recipes.cross_entropy import CrossEntropyLearner
from touchstone_trainer.recipes.gradient import ByGradient, Run
from touchstone_trainer.recipes.loop import Adapted, train
from touchstone_trainer.recipes.subject import Data, Subject


class HeadLearner(CrossEntropyLearner):
    """The head alone; the tower is as in evaluation, without drop-out."""

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.classifier.tower.requires_grad_(False)

    def outputs(self, pixels: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Logits (batch, classes)."""
        with torch.no_grad():
            features = self.classifier.features(pixels)
        logits: torch.Tensor = self.classifier.head(features)
        return logits

    def train(self, mode: bool = True) -> Self:
        return super().train(False)


def adapt_in_two_stages(subject: Subject, data: Data, recipe: TwoStage, run: Run) -> Adapted:
    """What is kept is the best epoch of the second stage, which starts from the best of the first.

    Raises Invalid without images of the target."""
    if data.target is None:
        raise Invalid("a second stage needs images of the target's training split", code="target_images_missing")
    first_stage = ByGradient(lambda subject, _, seed: CrossEntropyLearner(subject))
    first = first_stage(subject, data, recipe.first_stage, run)
    set_weights(subject.classifier, first.weights)
    second = train(
        HeadLearner(subject),
        subject,
        replace(data, training=data.target),
        recipe.second_stage,
        learning_rate=recipe.head.learning_rate,
        seed=derive_seed(run.seed, "second stage"),
        processes=run.processes,
        savepoints=run.savepoints,
        part="second stage",
    )
    return replace(
        second,
        first_stage=first.epochs,
        updates=first.updates + second.updates,
        peak_lr_fraction=first.peak_lr_fraction,
    )
