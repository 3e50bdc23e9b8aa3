"""Fine-tuning on an arm's images, then the head again on the target's own."""

from dataclasses import astuple
from typing import ClassVar, Literal

from pydantic import Field

from touchstone_contracts.recipes.class_labels import BatchAugmentation, ClassLabelOptimisation, CutMix
from touchstone_contracts.recipes.cross_entropy import CrossEntropy
from touchstone_contracts.recipes.optimisation import LearningRate, Optimisation, TowerOptimisation
from touchstone_contracts.recipes.spec import TrainingWork
from touchstone_contracts.values import Size, Strict, WeightDecay


class HeadStage(Strict):
    """The head alone, on images of the target's own training split, tower frozen; what it does not say is as in the
    first stage.

    The images are those that the arm `target_train` would train on at this size and seed: curated by the experiment's
    rules, and the same for every arm. A mixture in which `target_train` has this count holds them already."""

    images: Size
    """In total, all classes together."""
    learning_rate: LearningRate = 1e-2
    """SWAT's 1e-4 is for a head of length-one vectors; the weights of this one hold the logit scale, which is 100."""
    epochs: int = Field(default=10, ge=1, le=1000)
    batch_size: int = Field(default=32, ge=1, le=65_536)
    weight_decay: WeightDecay = 0.01


class TwoStage(TowerOptimisation, ClassLabelOptimisation):
    """Image tower and head on the arm's images with CutMix; then the head alone on target images (SWAT, 2406.11148).

    SWAT's first stage mixes retrieved with the few target images: a mixture of `target_train` and `retrieval`. With
    another arm the target's images are seen by the head alone. CutMix on half of the batches, and 10 epochs of the head
    in batches of 32, are what the published code has (tian1327/SWAT at e848bc0)."""

    kind: Literal["two_stage"] = "two_stage"
    needs_text_tower: ClassVar[bool] = False
    batch_augmentation: BatchAugmentation | None = CutMix(probability=0.5)
    head: HeadStage

    @property
    def target_images(self) -> int:
        return self.head.images

    @property
    def first_stage(self) -> CrossEntropy:
        return CrossEntropy.model_validate(self.model_dump(include=set(CrossEntropy.model_fields) - {"kind"}))

    @property
    def second_stage(self) -> CrossEntropy:
        """Nothing is mixed, and no untouched weights are interpolated."""
        first = self.model_dump(include=set(Optimisation.model_fields) - {"kind"})
        own = self.head.model_dump(exclude={"images", "learning_rate"})
        return CrossEntropy.model_validate(first | own | {"learning_rates": (self.head.learning_rate,)})

    def work(self, size: int, validation: int) -> TrainingWork:
        """No gradient reaches the tower in the second stage: there it only looks at the images."""
        updates, trained, evaluated = astuple(self.first_stage.work(size, validation))
        head = self.second_stage.work(self.head.images, validation)
        return TrainingWork(updates + head.updates, trained, evaluated + head.images_trained + head.images_evaluated)
