"""What is adapted."""

from dataclasses import dataclass

from touchstone_contracts.catalogue import ClassLabel
from touchstone_encoders.loading import LoadedEncoder, LoadedTower, with_text

from touchstone_trainer.classifier import ImageClassifier
from touchstone_trainer.pixels import EvaluationImages, TrainingImages


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
    validation: EvaluationImages
    loader_threads: int = 1
    target: TrainingImages | None = None
    """Of the target's own training split, for recipes that ask for some."""
