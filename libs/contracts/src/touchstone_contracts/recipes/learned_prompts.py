"""Words that no dictionary holds."""

from typing import Literal

from pydantic import Field

from touchstone_contracts.recipes.optimisation import LearningRate, Optimisation


class LearnedPrompts(Optimisation):
    """Context vectors before every class name, through the frozen text tower; image tower frozen (CoOp, 2109.01134)."""

    kind: Literal["learned_prompts"] = "learned_prompts"
    learning_rates: tuple[LearningRate, ...] = Field(default=(2e-3,), min_length=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    context_vectors: int = Field(default=4, ge=1, le=64)
    """Shared by all classes. They take the place of as many tokens of the text tower's context."""
