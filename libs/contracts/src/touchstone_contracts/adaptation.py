"""How an adapted encoder is evaluated (paper section 4). Defaults are the paper's where it states one."""

from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from touchstone_contracts.recipes.optimisation import LearningRate
from touchstone_contracts.registry import Registry
from touchstone_contracts.values import GradientClip, Strict, WarmupUpdates, WeightDecay, WhenSet


@dataclass(frozen=True)
class MetricDescription:
    words: str
    """In sentences and titles, e.g. "zero-shot accuracy"."""
    heading: str
    """Of a narrow column, e.g. "ZS"."""
    needs_text_tower: bool = False
    train_split: Literal["unused", "used", "needed"] = "unused"
    """Of the target. `used`: where there is one."""


METRICS = Registry[MetricDescription]("metric")
METRICS.register("zero_shot", MetricDescription("zero-shot accuracy", "ZS", needs_text_tower=True))
METRICS.register("linear_probe", MetricDescription("linear-probe accuracy", "LP", train_split="used"))
METRICS.register("regularised_probe", MetricDescription("regularised-probe accuracy", "RP", train_split="needed"))

Metric = Annotated[str, METRICS]


class LinearProbe(Strict):
    """AdamW on cached, L2-normalised features of the target's real split (section 4.4)."""

    learning_rate: LearningRate = 1e-2
    epochs: int = Field(default=200, ge=1, le=10_000)
    batch_size: int = Field(default=256, ge=1, le=1_000_000)
    weight_decay: WeightDecay = 0.1
    warmup_updates: WarmupUpdates = 200
    gradient_clip: GradientClip = 1.0


class RegularisedProbe(Strict):
    """Exact L2-regularised logistic regression for every value of C on a logarithmic grid.

    Fitted on the target's train split, which it needs, and chosen on validation. Not fitted again on both: C weighs a
    sum over images, so the chosen value belongs to the number of images it was chosen for."""

    smallest: float = Field(default=1e-6, gt=0, le=1e12)
    largest: float = Field(default=1e6, gt=0, le=1e12)
    """C = 1 / lambda; CLIP's range."""
    values: int = Field(default=97, ge=2, le=1000)
    """Eight per decade by default."""

    @model_validator(mode="after")
    def _grid_increases(self) -> Self:
        if self.smallest >= self.largest:
            raise ValueError("smallest must be below largest")
        return self


class Evaluation(Strict):
    metrics: tuple[Metric, ...] = Field(default=("zero_shot", "linear_probe"), min_length=1, max_length=20)
    linear_probe: LinearProbe = LinearProbe()
    regularised_probe: Annotated[RegularisedProbe, WhenSet] = RegularisedProbe()
