"""Fine-tuning few parameters of the tower."""

from typing import ClassVar, Literal

from pydantic import Field

from touchstone_contracts.recipes.class_labels import ClassLabelOptimisation
from touchstone_contracts.recipes.optimisation import LearningRates, TowerOptimisation


class LoRA(TowerOptimisation, ClassLabelOptimisation):
    """Low-rank updates of the image tower's matrices, and the head; cross-entropy (LoRA, arXiv 2106.09685).

    Merged into the tower at the end, so what is stored has the encoder's own form."""

    kind: Literal["lora"] = "lora"
    needs_text_tower: ClassVar[bool] = False
    learning_rates: LearningRates = (1e-4,)
    rank: int = Field(default=8, ge=1, le=1024)
