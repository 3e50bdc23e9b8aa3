"""Tuning a generator on few images before it generates (as DataDream does: LoRA on the UNet's attention)."""

from typing import Annotated, Literal

from pydantic import Field

from touchstone_contracts.values import Name, Strict, WhenSet


class CuratedImages(Strict):
    """Images that curation kept of another arm."""

    kind: Literal["arm"] = "arm"
    arm: Name
    """A retrieval arm of the same experiment."""


class TargetTrainImages(Strict):
    """Images of the target's own training split."""

    kind: Literal["target_train"] = "target_train"


TuningImages = Annotated[CuratedImages | TargetTrainImages, Field(discriminator="kind")]


class LoraSettings(Strict):
    """Low-rank updates of the attention projections, scaled by 1 (alpha = rank)."""

    rank: int = Field(default=16, ge=1, le=256)
    steps: int = Field(default=1000, ge=1, le=1_000_000)
    batch_size: int = Field(default=8, ge=1, le=1024)
    learning_rate: float = Field(default=1e-4, gt=0, le=1)


class Tuning(Strict):
    images: TuningImages
    images_per_class: int = Field(default=16, ge=1, le=10_000)
    """At most so many of each class, drawn by the experiment's sampling seed."""
    lora: LoraSettings = LoraSettings()
    """Of each adapter."""
    per: Annotated[Literal["set", "class"], WhenSet] = "set"
    """`set`: one adapter from the images of all classes. `class`: one for each class from its images alone, which
    generates that class's images; a class without images is generated untuned, and counted (DataDream has both)."""
