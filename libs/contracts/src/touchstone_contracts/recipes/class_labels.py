"""What recipes with a cross-entropy loss can do with images and their labels before the loss sees them."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from touchstone_contracts.recipes.optimisation import Optimisation
from touchstone_contracts.values import Fraction, Strict, WhenSet, is_none

Alpha = Annotated[float, Field(gt=0, le=100)]
"""An image's own share is drawn from Beta(alpha, alpha), once a batch: 1 is uniform, less is nearer to 0 or 1."""


class CutMix(Strict):
    """A rectangle of every image shows the image before it in the batch; labels by area (arXiv 1905.04899)."""

    kind: Literal["cutmix"] = "cutmix"
    alpha: Alpha = 1.0
    probability: Fraction = 1.0
    """Of a batch to be mixed; the others are trained on as they are."""


class MixUp(Strict):
    """Every image is averaged with the image before it in the batch, and so are their labels (arXiv 1710.09412)."""

    kind: Literal["mixup"] = "mixup"
    alpha: Alpha = 0.2
    probability: Fraction = 1.0
    """Of a batch to be mixed; the others are trained on as they are."""


BatchAugmentation = Annotated[CutMix | MixUp, Field(discriminator="kind")]


class ClassLabelOptimisation(Optimisation):
    """Recipes whose loss is the cross-entropy with class labels: labels can be mixed, and images weighed."""

    weighs_images: ClassVar[bool] = True
    batch_augmentation: Annotated[BatchAugmentation | None, WhenSet] = Field(default=None, exclude_if=is_none)
    """On top of the crop of each image. None: every image keeps its own label."""
