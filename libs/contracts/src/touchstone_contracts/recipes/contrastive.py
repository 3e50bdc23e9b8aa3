"""Fine-tuning with the loss of pretraining."""

from typing import ClassVar, Literal

from touchstone_contracts.recipes.optimisation import TowerOptimisation
from touchstone_contracts.values import GradientClip


class Contrastive(TowerOptimisation):
    """Image and text tower trained on (image, prompt of its class); the head comes from the tuned text tower.

    FLYP, arXiv 2212.00638. Each update draws one of the zero-shot templates per image. Neither FLYP's code nor the
    paper's cuts the gradient here."""

    kind: Literal["contrastive"] = "contrastive"
    needs_text_tower: ClassVar[bool] = True
    gradient_clip: GradientClip | None = None
