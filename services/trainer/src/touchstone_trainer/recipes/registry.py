"""Which code carries out which recipe."""

from collections.abc import Callable
from typing import Any

from touchstone_contracts.problems import Invalid
from touchstone_contracts.recipes import Recipe
from touchstone_contracts.recipes.contrastive import Contrastive
from touchstone_contracts.recipes.cross_entropy import CrossEntropy
from touchstone_contracts.recipes.head_only import HeadOnly
from touchstone_contracts.recipes.learned_prompts import LearnedPrompts
from touchstone_contracts.recipes.lora import LoRA
from touchstone_contracts.recipes.two_stage import TwoStage
from touchstone_contracts.registry import Implementations

from touchstone_trainer.recipes.contrastive import ContrastiveLearner
from touchstone_trainer.recipes.cross_entropy import CrossEntropyLearner
from touchstone_trainer.recipes.gradient import ByGradient, Run
from touchstone_trainer.recipes.head_only import mix_head
from touchstone_trainer.recipes.learned_prompts import PromptLearner
from touchstone_trainer.recipes.loop import Adapted
from touchstone_trainer.recipes.lora import LoRALearner
from touchstone_trainer.recipes.subject import Data, Subject
from touchstone_trainer.recipes.two_stage import adapt_in_two_stages

Adapt = Callable[[Subject, Data, Any, Run], Adapted]
"""(subject, data, recipe, run); may change `subject.classifier`."""

RECIPE_FUNCTIONS = Implementations[Adapt]("recipe")
RECIPE_FUNCTIONS.register(CrossEntropy, ByGradient(lambda subject, recipe, seed: CrossEntropyLearner(subject)))
RECIPE_FUNCTIONS.register(Contrastive, ByGradient(lambda subject, recipe, seed: ContrastiveLearner(subject)))
RECIPE_FUNCTIONS.register(HeadOnly, mix_head)
RECIPE_FUNCTIONS.register(LoRA, ByGradient(lambda subject, recipe, seed: LoRALearner(subject, recipe.rank, seed)))
RECIPE_FUNCTIONS.register(
    LearnedPrompts, ByGradient(lambda subject, recipe, seed: PromptLearner(subject, recipe.context_vectors, seed))
)
RECIPE_FUNCTIONS.register(TwoStage, adapt_in_two_stages)


def adapt(subject: Subject, data: Data, recipe: Recipe, run: Run) -> Adapted:
    """May change `subject.classifier`. Raises Diverged, NoTextTower or Invalid."""
    if data.training.weights is not None and not recipe.weighs_images:
        raise Invalid(f"{recipe.kind} cannot weigh images", code="weights_unused")
    return RECIPE_FUNCTIONS.of(recipe)(subject, data, recipe, run)
