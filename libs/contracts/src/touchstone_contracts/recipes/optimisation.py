"""What every recipe that descends a gradient says about it. Defaults are the paper's where it states one (4.1, 4.2)."""

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field

from touchstone_contracts.recipes.spec import RecipeSpec, TrainingWork
from touchstone_contracts.values import Fraction, GradientClip, WarmupUpdates, WeightDecay, WhenSet

LearningRate = Annotated[float, Field(gt=0, le=1)]
LearningRates = Annotated[tuple[LearningRate, ...], Field(min_length=1, max_length=100)]
Precision = Literal["fp32", "bf16", "fp16"]


class Optimisation(RecipeSpec):
    """AdamW, linear warm-up, cosine to zero. Equal sizes get equally many updates, whatever the arm."""

    learning_rates: LearningRates = (1e-5,)
    """Selected on validation per arm and size, averaged over seeds; the same grid for every arm."""
    epochs: int = Field(default=30, ge=1, le=1000)
    batch_size: int = Field(default=512, ge=1, le=65_536)
    weight_decay: WeightDecay = 0.1
    beta2: float = Field(default=0.95, gt=0, lt=1)
    gradient_clip: GradientClip | None = 1.0
    """Length to which the gradient of all weights together is cut. None: not cut."""
    warmup_updates: WarmupUpdates = 500
    warmup_fraction: Fraction = 0.1
    """Warm-up lasts min(warmup_updates, warmup_fraction x all updates); 1.0 gives the paper's fixed 500."""
    crop_scale: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Lower bound of RandomResizedCrop's area; the upper is 1."""
    precision: Precision = "fp32"
    """Of the forward pass (autocast); weights, loss and updates stay fp32. fp16 scales its loss."""
    micro_batch_size: Annotated[int | None, Field(ge=1, le=65_536), WhenSet] = None
    """Images in memory at once; None: the whole batch. Changes memory and time, the result only by rounding."""

    def runs(self) -> Iterator[tuple[float | None, Self]]:
        """One run per learning rate, each without the rest of the grid: a rate added later repeats none of them."""
        for rate in self.learning_rates:
            yield rate, self.model_copy(update={"learning_rates": (rate,)})

    def work(self, size: int, validation: int) -> TrainingWork:
        """Every epoch ends with a look at the validation split."""
        return TrainingWork(
            updates=self.epochs * -(-size // self.batch_size),
            images_trained=self.epochs * size,
            images_evaluated=self.epochs * validation,
        )


class TowerOptimisation(Optimisation):
    """Recipes that change the image tower."""

    interpolation: Annotated[float, Field(ge=0, le=1), WhenSet] = 1.0
    """WiSE-FT's alpha: weights = (1 - alpha) x untouched + alpha x tuned, validated as such. 1: no interpolation."""
