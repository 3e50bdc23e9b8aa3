"""What every recipe says of itself, for all who plan, estimate or refuse an experiment."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

from touchstone_contracts.catalogue import Target
from touchstone_contracts.problems import FieldError
from touchstone_contracts.values import Strict


@dataclass(frozen=True)
class TrainingWork:
    """Of one run."""

    updates: int
    images_trained: int
    """Forward and backward."""
    images_evaluated: int
    """Forward alone."""


class RecipeSpec(Strict):
    kind: str
    needs_text_tower: ClassVar[bool]
    """Whether an image backbone without a text tower cannot be adapted by it."""
    weighs_images: ClassVar[bool] = False
    """Whether images can count more or less than others in its loss."""

    @property
    def target_images(self) -> int:
        """So many of the target's own training images it needs beside those of the arm."""
        return 0

    @abstractmethod
    def runs(self) -> Iterator[tuple[float | None, Self]]:
        """(learning rate, the recipe of this run) for every run of one seed; None for a recipe without a rate."""

    @abstractmethod
    def work(self, size: int, validation: int) -> TrainingWork:
        """What one run on `size` images costs, with as many `validation` images."""

    def unmet_needs(self, target: Target) -> Iterator[FieldError]:
        """What the recipe needs of a target and `target` does not have; pointers are below the recipe."""
        yield from ()
