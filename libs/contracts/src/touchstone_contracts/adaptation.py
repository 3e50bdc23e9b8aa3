"""How an adapted encoder is evaluated (paper section 4). Defaults are the paper's where it states one."""

from typing import Literal

from pydantic import Field

from touchstone_contracts.recipes.optimisation import LearningRate
from touchstone_contracts.values import Strict

Metric = Literal["zero_shot", "linear_probe"]


class LinearProbe(Strict):
    """AdamW on cached, L2-normalised features of the target's real split (section 4.4)."""

    learning_rate: LearningRate = 1e-2
    epochs: int = Field(default=200, ge=1, le=10_000)
    batch_size: int = Field(default=256, ge=1)
    weight_decay: float = Field(default=0.1, ge=0)
    warmup_updates: int = Field(default=200, ge=0)
    gradient_clip: float = Field(default=1.0, gt=0)


class Evaluation(Strict):
    metrics: tuple[Metric, ...] = Field(default=("zero_shot", "linear_probe"), min_length=1)
    linear_probe: LinearProbe = LinearProbe()
