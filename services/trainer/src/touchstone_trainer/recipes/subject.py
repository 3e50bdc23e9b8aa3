"""What is adapted."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from touchstone_contracts.catalogue import ClassLabel
from touchstone_encoders.loading import LoadedEncoder, LoadedTower, with_text

from touchstone_trainer.classifier import ImageClassifier
from touchstone_trainer.evaluation.zero_shot import embed_split
from touchstone_trainer.pixels import Split, TrainingImages
from touchstone_trainer.prefetch import IN_ONE_THREAD, Loader


@dataclass(frozen=True)
class Subject:
    """A fresh classifier, which adaptation may change, and where it came from, which it may not."""

    classifier: ImageClassifier
    tower: LoadedTower
    classes: tuple[ClassLabel, ...]
    templates: tuple[str, ...]

    @property
    def encoder(self) -> LoadedEncoder:
        """Raises NoTextTower."""
        return with_text(self.tower)


@dataclass(frozen=True)
class Data:
    training: TrainingImages
    validation: Split
    loader: Loader = IN_ONE_THREAD
    target: TrainingImages | None = None
    """Of the target's own training split, for recipes that ask for some."""
    frozen_validation: Callable[[ImageClassifier], torch.Tensor] | None = None
    """Where features of the validation images by a classifier with the untouched tower may be known already."""

    def untouched_validation(self, classifier: ImageClassifier) -> torch.Tensor:
        """Their features by a classifier with the untouched tower."""
        return (self.frozen_validation or self._embedded_validation)(classifier)

    def _embedded_validation(self, classifier: ImageClassifier) -> torch.Tensor:
        return embed_split(classifier, self.validation)
