"""Curation: the same rules for every arm (paper section 3)."""

from abc import abstractmethod
from collections.abc import Mapping
from math import floor
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from touchstone_contracts.problems import in_words
from touchstone_contracts.registry import Kinds, kind_of
from touchstone_contracts.values import (
    MOST_CLASSES,
    MOST_IMAGES,
    STORED,
    ClassKey,
    Cosine,
    Fraction,
    Lenient,
    Name,
    Strict,
    WhenSet,
    is_empty,
    is_zero,
)


class FilterSpec(Strict):
    """What becomes of images by their CLIP score."""

    kind: str

    @property
    @abstractmethod
    def score_rules(self) -> "tuple[ScoreRuleSpec, ...]":
        """What it consists of, in the order of application; nothing where it keeps all."""


class ScoreRuleSpec(FilterSpec):
    """A rule by CLIP score, which may be the whole filter or one of several."""

    dropped_words: ClassVar[str]
    """Why an image was dropped, after "Filtered: ", e.g. "below the score"."""

    @property
    def score_rules(self) -> "tuple[ScoreRuleSpec, ...]":
        return (self,)

    @abstractmethod
    def most_kept(self, candidates: int) -> int:
        """Upper bound of the images of a class that stay of `candidates`."""

    def most_kept_together(self, candidates: int, classes: int) -> int:
        """Upper bound of the images that stay of `candidates` of all classes together, however they are divided."""
        return min(candidates, classes * self.most_kept(candidates))

    def classes_named(self) -> dict[str, tuple[str, ...]]:
        """By field: display names or ids of classes, each of which some target must have."""
        return {}


class KeepAll(FilterSpec):
    kind: Literal["keep_all"] = "keep_all"

    @property
    def score_rules(self) -> tuple[ScoreRuleSpec, ...]:
        return ()


class KeepTopFraction(ScoreRuleSpec):
    """Per class, the share of images with the highest CLIP score against their own class."""

    kind: Literal["keep_top_fraction"] = "keep_top_fraction"
    dropped_words: ClassVar[str] = "not in the top fraction"
    fraction: Fraction = 0.3

    def most_kept(self, candidates: int) -> int:
        """Scores at or above the linear (1 - f) quantile of n values: floor((n - 1) f) + 1 of them."""
        return floor((candidates - 1) * self.fraction + 1e-9) + 1 if candidates else 0

    def most_kept_together(self, candidates: int, classes: int) -> int:
        """Each class adds less than one image to its share, and none where it has no image."""
        present = min(classes, candidates)
        return floor((candidates - present) * self.fraction + 1e-9) + present


class KeepAboveScore(ScoreRuleSpec):
    """Images whose CLIP score against their own class reaches `minimum` (cosine, not cosine x 100)."""

    kind: Literal["keep_above_score"] = "keep_above_score"
    dropped_words: ClassVar[str] = "below the score"
    minimum: Cosine = 0.2

    def most_kept(self, candidates: int) -> int:
        return candidates


class KeepAboveClassScore(ScoreRuleSpec):
    """As `keep_above_score` with a threshold per class (paper section 3.1)."""

    kind: Literal["keep_above_class_score"] = "keep_above_class_score"
    dropped_words: ClassVar[str] = "below the class's score"
    minimums: dict[ClassKey, Cosine] = Field(min_length=1, max_length=MOST_CLASSES)
    minimum: Cosine = 0.2
    """For classes that `minimums` does not name."""

    def most_kept(self, candidates: int) -> int:
        return candidates

    def classes_named(self) -> dict[str, tuple[str, ...]]:
        return {"minimums": tuple(self.minimums)}


FILTERS = Kinds[FilterSpec]("filter", FilterSpec)  # type: ignore[type-abstract]  # nothing makes one of it
SCORE_RULES = Kinds[ScoreRuleSpec]("score rule", ScoreRuleSpec, within=FILTERS)  # type: ignore[type-abstract]
ScoreRule = Annotated[ScoreRuleSpec, SCORE_RULES]
Filter = Annotated[FilterSpec, FILTERS]


class AllOf(FilterSpec):
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

    @property
    def score_rules(self) -> tuple[ScoreRuleSpec, ...]:
        return self.rules


FILTERS.register(KeepAll)
SCORE_RULES.register(KeepTopFraction)
SCORE_RULES.register(KeepAboveScore)
SCORE_RULES.register(KeepAboveClassScore)
FILTERS.register(AllOf)


FIRST_STAGES = {
    "placeholder": "Placeholder",
    "leaked": "Leaked",
    "leaked_validation": "In validation",
    "familiar": "In upstream",
}
LAST_STAGES = {
    "label_conflict": "Label conflict",
    "near_duplicate": "Near-duplicate",
    "filtered": "Filtered",
    "over_cap": "Over cap",
}
"""Words of the stages that every curation has, by name. `placeholder`: a picture that links of several classes lead to
because their images are gone; `leaked`: too similar to a test image; `familiar`: a synthetic image too similar to an
upstream image; `label_conflict`: another class has the image too."""


class StageSpec(Strict):
    """A further stage, which drops images for another reason than the stages that every curation has."""

    kind: str
    words: ClassVar[str]
    """Heading of its column, e.g. "Too small"."""


STAGES = Kinds[StageSpec]("curation stage", StageSpec, reserved={*FIRST_STAGES, *LAST_STAGES})
"""Further stages. None is part of Touchstone today."""
Stage = Annotated[StageSpec, STAGES]


def stage_words() -> dict[str, str]:
    """Every stage, in the order of application, with its words."""
    return FIRST_STAGES | {kind_of(stage): stage.words for stage in STAGES} | LAST_STAGES


HeldOut = Literal["test", "validation"]

LabelConflicts = Literal["keep_all", "best_class", "drop"]
LABEL_CONFLICTS: LabelConflicts = "best_class"
"""Of experiments that do not say it. `keep_all`, the default of the rules themselves, is what was done before there was
a choice (decision 0039)."""


class Curation(Strict):
    filter: Filter = KeepTopFraction()
    per_class_cap: int | None = Field(default=10_000, ge=1, le=MOST_IMAGES)
    near_duplicate_cosine: Cosine | None = 0.97
    """Within a class, of two images at least this similar the better-scored one stays; None keeps all."""
    leak_cosine: Cosine | None = 0.95
    """An image at least this similar to a held-out image of the target is removed; None turns the check off."""
    leak_splits: Annotated[tuple[HeldOut, ...], WhenSet] = Field(default=("test",), min_length=1, max_length=2)
    """Which those are. Validation chooses learning rate and epoch; its images in training mislead that choice."""
    leaks_removed: Annotated[Literal["first", "last"], WhenSet] = "first"
    """`first`: no leak shifts a quantile, counts towards the cap or hides its near-duplicates. `last`: of what
    filter and cap left, as the paper did (section 3.2); classes may end below the cap."""
    label_conflicts: Annotated[LabelConflicts, WhenSet] = Field(
        default="keep_all", json_schema_extra={"default": LABEL_CONFLICTS}
    )
    """What becomes of an image that was found for several classes of the target. `keep_all`: it stays in each of them,
    so that all its labels but one may be wrong. `best_class`: it stays in the class that it has the highest score for
    (of equal ones, in the class with the lower id). `drop`: it stays in none."""
    novelty_cosine: Annotated[Cosine | None, WhenSet] = None
    """A synthetic image at least this similar to an upstream image is removed: what stays is what upstream lacks."""
    memorisation_cosine: Annotated[Cosine | None, WhenSet] = None
    """Report the share of synthetic images at least this similar to an upstream image; removes none."""
    stages: Annotated[tuple[Stage, ...], WhenSet] = Field(default=(), max_length=10, exclude_if=is_empty)
    """Further stages in their order, after the comparisons with held-out and upstream images and before near-duplicates
    are looked for: an image that goes takes none that resembles it along."""
    score_encoder: Annotated[Name | None, WhenSet] = None
    """Compares images with class texts. Left out: the experiment's encoder."""
    copy_encoder: Annotated[Name | None, WhenSet] = None
    """Compares images with images: leaks, near-duplicates, novelty. Left out: the experiment's encoder.

    Any registered encoder, as safetensors. The copy-detection descriptor of the paper is published as a pickle, which
    is not loaded: `touchstone_encoders.convert_descriptor` turns it into what is."""
    ranking: Literal["random", "score"] = "random"
    """Order of the curated pool whose prefixes are the training sets: seeded shuffle (as the paper) or best first."""
    balance: Literal["stratified", "uniform"] = "stratified"
    """Whether a prefix takes classes in turn or images regardless of class (the paper: uniform)."""

    @model_validator(mode="after")
    def _one_stage_of_a_kind(self) -> Self:
        kinds = [stage.kind for stage in self.stages]
        if len(set(kinds)) != len(kinds):
            raise ValueError("stages takes one of a kind: an image's drop reason names the kind")
        return self

    @property
    def score_rules(self) -> tuple[ScoreRuleSpec, ...]:
        return self.filter.score_rules

    def drop_reason(self, rule: ScoreRuleSpec) -> str:
        """Of several rules the reason names the one that dropped an image."""
        return "filtered" if len(self.score_rules) == 1 else f"filtered/{rule.kind}"

    @property
    def needs_upstream(self) -> bool:
        """Whether synthetic images are compared with the upstream."""
        return self.novelty_cosine is not None or self.memorisation_cosine is not None

    @property
    def unchecked(self) -> tuple[HeldOut, ...]:
        """The splits whose images are not looked for among an arm's."""
        held_out: tuple[HeldOut, ...] = ("test", "validation")
        checked = self.leak_splits if self.leak_cosine is not None else ()
        return tuple(split for split in held_out if split not in checked)

    def without_names(self) -> "Curation":
        """For requests: there the encoders stand by their digests, and a name must not decide a step."""
        return self.model_copy(update={"score_encoder": None, "copy_encoder": None})


def with_default_conflicts(curation: object, info: ValidationInfo) -> object:
    """The rules of an experiment, as a document or as a model, with LABEL_CONFLICTS where they do not say what becomes
    of an image with several labels. A stored experiment that does not say it is older than the choice and stays as it
    is: read it in the context STORED."""
    if info.context == STORED:
        return curation
    chosen = {"label_conflicts": LABEL_CONFLICTS}
    if isinstance(curation, Mapping):
        return chosen | dict(curation)
    if isinstance(curation, Curation) and "label_conflicts" not in curation.model_fields_set:
        return curation.model_copy(update=chosen)
    return curation


def drop_words() -> dict[str, str]:
    """Every reason why an image may be dropped, in the order of the stages, with its words."""
    words = {}
    for stage, heading in stage_words().items():
        words[stage] = heading
        if stage == "filtered":
            words |= {f"filtered/{kind_of(rule)}": f"{heading}: {rule.dropped_words}" for rule in SCORE_RULES}
    return words


def _known_reason(reason: str) -> str:
    known = drop_words()
    if reason not in known:
        raise ValueError(f"{reason!r} is no reason to drop an image; there are {in_words(list(known), 'and')}")
    return reason


DropReason = Annotated[
    str, AfterValidator(_known_reason), Field(json_schema_extra=lambda schema: schema.update(enum=[*drop_words()]))
]
"""A stage or, where the filter has several rules, `filtered/` and the kind of the rule that dropped the image."""


def stage_of(reason: str) -> str:
    """The stage that a drop reason counts towards."""
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
    label_conflict: int = Field(default=0, exclude_if=is_zero)
    """Not written where there are none, as before there could be any; as `placeholder` and `further`."""
    placeholder: int = Field(default=0, exclude_if=is_zero)
    further: dict[str, int] = Field(default_factory=dict, exclude_if=is_empty)
    """Dropped by further stages, by stage."""

    @property
    def dropped(self) -> dict[str, int]:
        """By stage, in the order of application."""
        return {
            stage: self.further.get(stage, 0) if stage in STAGES else getattr(self, stage) for stage in stage_words()
        }


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
