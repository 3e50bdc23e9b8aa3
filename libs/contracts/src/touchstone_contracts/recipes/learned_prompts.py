"""Words that no dictionary holds."""

from typing import Literal

from pydantic import Field

from touchstone_contracts.recipes.optimisation import LearningRate, Optimisation


class LearnedPrompts(Optimisation):
    """Context vectors before every class name, through the frozen text tower; image tower frozen (CoOp, 2109.01134).

    What follows the name in the target's first zero-shot template stays, where training starts from that template."""

    kind: Literal["learned_prompts"] = "learned_prompts"
    learning_rates: tuple[LearningRate, ...] = Field(default=(2e-3,), min_length=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    context_vectors: int | None = Field(default=None, ge=1, le=64)
    """Shared by all classes. None: one for each token before the name in the target's first zero-shot template, which
    is where they start. A number: so many before the name alone, starting at random."""
