"""Words that no dictionary holds."""

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from touchstone_contracts.catalogue import ARTICLE, Target
from touchstone_contracts.problems import FieldError
from touchstone_contracts.recipes.class_labels import ClassLabelOptimisation
from touchstone_contracts.recipes.optimisation import LearningRates
from touchstone_contracts.values import WeightDecay


class LearnedPrompts(ClassLabelOptimisation):
    """Context vectors before every class name, through the frozen text tower; image tower frozen (CoOp, 2109.01134).

    What follows the name in a template stays, where training starts from that template."""

    kind: Literal["learned_prompts"] = "learned_prompts"
    needs_text_tower: ClassVar[bool] = True
    learning_rates: LearningRates = (2e-3,)
    weight_decay: WeightDecay = 5e-4
    context_vectors: int | None = Field(default=None, ge=1, le=64)
    """Shared by all classes. None: one for each token before the name in the first of the target's zero-shot templates
    that has words there, which is where they start. A number: so many before the name alone, starting at random."""

    def unmet_needs(self, target: Target) -> Iterator[FieldError]:
        if self.context_vectors is None and context_template(target.templates.zero_shot) is None:
            detail = f"no zero-shot template of target {target.name!r} has words before the name: give a number"
            yield FieldError(pointer="/context_vectors", detail=detail)


def context_template(templates: Sequence[str]) -> str | None:
    """The first template with the same words before every class name, which context vectors can start from."""
    starts = {template: template.partition("{name}")[0] for template in templates}
    return next((template for template, start in starts.items() if start.strip() and ARTICLE not in start), None)
