"""Recipes: the ways of adapting an encoder on a training set, one file each."""

from typing import Annotated

from pydantic import Field

from touchstone_contracts.recipes.contrastive import Contrastive
from touchstone_contracts.recipes.cross_entropy import CrossEntropy
from touchstone_contracts.recipes.head_only import HeadOnly
from touchstone_contracts.recipes.learned_prompts import LearnedPrompts
from touchstone_contracts.recipes.lora import LoRA

Recipe = Annotated[CrossEntropy | Contrastive | HeadOnly | LoRA | LearnedPrompts, Field(discriminator="kind")]
