"""No gradient at all."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from touchstone_contracts.recipes.spec import RecipeSpec, TrainingWork


class HeadOnly(RecipeSpec):
    """Class means of image features mixed into the text head: a minute on a CPU (Neural Priming, arXiv 2306.10191)."""

    kind: Literal["head_only"] = "head_only"
    needs_text_tower: ClassVar[bool] = True
    mixing_weights: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(
        default=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0), min_length=1, max_length=1000
    )
    """Head = (1 - weight) x text + weight x mean image. Selected on validation; of equally good ones the smallest."""

    def runs(self) -> Iterator[tuple[float | None, Self]]:
        """One run: nothing here has a learning rate."""
        yield None, self

    def work(self, size: int, validation: int) -> TrainingWork:
        """Looks once at either."""
        return TrainingWork(updates=0, images_trained=0, images_evaluated=size + validation)
