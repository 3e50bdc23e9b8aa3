"""Fine-tuning as the paper did it."""

from typing import ClassVar, Literal

from touchstone_contracts.recipes.class_labels import ClassLabelOptimisation
from touchstone_contracts.recipes.optimisation import TowerOptimisation


class CrossEntropy(TowerOptimisation, ClassLabelOptimisation):
    """Image tower and text-initialised linear head, both trained; plain cross-entropy (section 4.2)."""

    kind: Literal["cross_entropy"] = "cross_entropy"
    needs_text_tower: ClassVar[bool] = False
