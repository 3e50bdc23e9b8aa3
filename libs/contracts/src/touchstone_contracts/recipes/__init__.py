"""Recipes: the ways of adapting an encoder on a training set, one file each."""

from typing import Annotated

from touchstone_contracts.recipes.contrastive import Contrastive
from touchstone_contracts.recipes.cross_entropy import CrossEntropy
from touchstone_contracts.recipes.head_only import HeadOnly
from touchstone_contracts.recipes.learned_prompts import LearnedPrompts
from touchstone_contracts.recipes.lora import LoRA
from touchstone_contracts.recipes.spec import RecipeSpec
from touchstone_contracts.recipes.two_stage import TwoStage
from touchstone_contracts.registry import Kinds

RECIPES = Kinds[RecipeSpec]("recipe", RecipeSpec)  # type: ignore[type-abstract]  # nothing makes one of it
RECIPES.register(CrossEntropy)
RECIPES.register(Contrastive)
RECIPES.register(HeadOnly)
RECIPES.register(LoRA)
RECIPES.register(LearnedPrompts)
RECIPES.register(TwoStage)

Recipe = Annotated[RecipeSpec, RECIPES]
