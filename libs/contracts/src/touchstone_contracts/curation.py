"""Curation: the same rules for every arm (paper section 3)."""

from typing import Annotated, Literal

from pydantic import Field

from touchstone_contracts.values import Cosine, Fraction, Lenient, Strict


class KeepAll(Strict):
    kind: Literal["keep_all"] = "keep_all"


class KeepTopFraction(Strict):
    """Per class, the share of images with the highest CLIP score against their own class."""

    kind: Literal["keep_top_fraction"] = "keep_top_fraction"
    fraction: Fraction = 0.3


class KeepAboveScore(Strict):
    """Images whose CLIP score against their own class reaches `minimum` (cosine, not cosine x 100)."""

    kind: Literal["keep_above_score"] = "keep_above_score"
    minimum: Cosine = 0.2


Filter = Annotated[KeepAll | KeepTopFraction | KeepAboveScore, Field(discriminator="kind")]


class Curation(Strict):
    filter: Filter = KeepTopFraction()
    per_class_cap: int | None = Field(default=10_000, ge=1)
    near_duplicate_cosine: Cosine | None = 0.97
    """Within a class, of two images at least this similar the better-scored one stays; None keeps all."""
    leak_cosine: Cosine | None = 0.95
    """An image at least this similar to a test image of the target is removed; None turns the check off."""
    ranking: Literal["random", "score"] = "random"
    """Order of the curated pool whose prefixes are the training sets: seeded shuffle (as the paper) or best first."""
    balance: Literal["stratified", "uniform"] = "stratified"
    """Whether a prefix takes classes in turn or images regardless of class (the paper: uniform)."""


DropReason = Literal["leaked", "near_duplicate", "filtered", "over_cap"]


class CurationCounts(Lenient):
    """Images of one arm by stage; `obtained` = kept + the four reasons."""

    requested: int
    obtained: int
    leaked: int
    near_duplicate: int
    filtered: int
    over_cap: int
    kept: int
    classes_without_images: tuple[int, ...] = ()
