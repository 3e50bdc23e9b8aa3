"""Curation: the same rules for every arm (paper section 3)."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from touchstone_contracts.values import Cosine, Fraction, Lenient, Name, Strict, WhenSet


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


class KeepAboveClassScore(Strict):
    """As `keep_above_score` with a threshold per class (paper section 3.1)."""

    kind: Literal["keep_above_class_score"] = "keep_above_class_score"
    minimums: dict[str, Cosine] = Field(min_length=1, max_length=10_000)
    """By display name (every class so named) or class id."""
    minimum: Cosine = 0.2
    """For classes that `minimums` does not name."""


ScoreRule = Annotated[KeepTopFraction | KeepAboveScore | KeepAboveClassScore, Field(discriminator="kind")]


class AllOf(Strict):
    """Several rules in their order, each on what the ones before it left: a top fraction after a threshold is a
    fraction of what reached the threshold."""

    kind: Literal["all_of"] = "all_of"
    rules: tuple[ScoreRule, ...] = Field(min_length=2, max_length=3)

    @model_validator(mode="after")
    def _one_rule_of_a_kind(self) -> Self:
        kinds = [rule.kind for rule in self.rules]
        if len(set(kinds)) != len(kinds):
            raise ValueError("all_of takes one rule of a kind: an image's drop reason names the kind")
        return self


Filter = Annotated[
    KeepAll | KeepTopFraction | KeepAboveScore | KeepAboveClassScore | AllOf, Field(discriminator="kind")
]
HeldOut = Literal["test", "validation"]


class Curation(Strict):
    filter: Filter = KeepTopFraction()
    per_class_cap: int | None = Field(default=10_000, ge=1)
    near_duplicate_cosine: Cosine | None = 0.97
    """Within a class, of two images at least this similar the better-scored one stays; None keeps all."""
    leak_cosine: Cosine | None = 0.95
    """An image at least this similar to a held-out image of the target is removed; None turns the check off."""
    leak_splits: Annotated[tuple[HeldOut, ...], WhenSet] = Field(default=("test",), min_length=1, max_length=2)
    """Which those are. Validation chooses learning rate and epoch; its images in training mislead that choice."""
    novelty_cosine: Annotated[Cosine | None, WhenSet] = None
    """A synthetic image at least this similar to an upstream image is removed: what stays is what upstream lacks."""
    memorisation_cosine: Annotated[Cosine | None, WhenSet] = None
    """Report the share of synthetic images at least this similar to an upstream image; removes none."""
    score_encoder: Annotated[Name | None, WhenSet] = None
    """Compares images with class texts. Left out: the experiment's encoder."""
    copy_encoder: Annotated[Name | None, WhenSet] = None
    """Compares images with images: leaks, near-duplicates, novelty. Left out: the experiment's encoder.

    Any registered encoder, as safetensors; copy-detection descriptors are published as TorchScript or pickles, which
    are not loaded, so they have to be converted first."""
    ranking: Literal["random", "score"] = "random"
    """Order of the curated pool whose prefixes are the training sets: seeded shuffle (as the paper) or best first."""
    balance: Literal["stratified", "uniform"] = "stratified"
    """Whether a prefix takes classes in turn or images regardless of class (the paper: uniform)."""

    @property
    def score_rules(self) -> tuple[ScoreRule, ...]:
        """What the filter consists of, in the order of application; nothing where it keeps all."""
        match self.filter:
            case KeepAll():
                return ()
            case AllOf(rules=rules):
                return rules
            case rule:
                return (rule,)

    @property
    def needs_upstream(self) -> bool:
        """Whether synthetic images are compared with the upstream."""
        return self.novelty_cosine is not None or self.memorisation_cosine is not None

    def without_names(self) -> "Curation":
        """For requests: there the encoders stand by their digests, and a name must not decide a step."""
        return self.model_copy(update={"score_encoder": None, "copy_encoder": None})


DropReason = Literal[
    "leaked",
    "leaked_validation",
    "familiar",
    "near_duplicate",
    "filtered",
    "filtered/keep_top_fraction",
    "filtered/keep_above_score",
    "filtered/keep_above_class_score",
    "over_cap",
]
"""`leaked`: too similar to a test image; `familiar`: a synthetic image too similar to an upstream image.

Of several rules (`all_of`), `filtered/` names the one that dropped the image."""
FILTERED_BY: dict[str, DropReason] = {
    "keep_top_fraction": "filtered/keep_top_fraction",
    "keep_above_score": "filtered/keep_above_score",
    "keep_above_class_score": "filtered/keep_above_class_score",
}
"""By the kind of a rule of `all_of`."""


def stage_of(reason: str) -> str:
    """The field of CurationCounts that a drop reason counts towards."""
    return reason.partition("/")[0]


class CurationCounts(Lenient):
    """Images of one arm by stage; `obtained` = kept + the images of every stage that drops some."""

    requested: int
    obtained: int
    leaked: int
    near_duplicate: int
    filtered: int
    over_cap: int
    kept: int
    classes_without_images: tuple[int, ...] = ()
    leaked_validation: int = 0
    familiar: int = 0


class ScoreHistogram(Lenient):
    """CLIP scores before and after curation in the same bins; `edges` has one entry more than the counts."""

    edges: tuple[float, ...]
    obtained: tuple[int, ...]
    kept: tuple[int, ...]


class MemorisationReport(Lenient):
    """How close the synthetic images of an arm come to the upstream the generator was trained on."""

    images: int
    cosine_quantiles: dict[str, float]
    """Quantile (0.05 ... 1) -> cosine to the nearest upstream image."""
    threshold: float | None = None
    share: float | None = None
    """Of the images, those at least `threshold` similar."""


class CurationReport(Lenient):
    """Before and after: what curation did to each class and to the scores."""

    obtained_by_class: tuple[int, ...]
    dropped_by_class: dict[DropReason, tuple[int, ...]]
    """Reasons that dropped no image are left out."""
    kept_by_class: tuple[int, ...]
    class_coverage: float
    """Share of the target's classes with at least one kept image."""
    scores: ScoreHistogram | None = None
    """None where nothing was obtained."""
    memorisation: MemorisationReport | None = None
