"""Which code carries out which recipe."""

from typing import assert_never

from touchstone_contracts.problems import Invalid
from touchstone_contracts.recipes import Recipe
from touchstone_contracts.recipes.contrastive import Contrastive
from touchstone_contracts.recipes.cross_entropy import CrossEntropy
from touchstone_contracts.recipes.head_only import HeadOnly
from touchstone_contracts.recipes.learned_prompts import LearnedPrompts
from touchstone_contracts.recipes.lora import LoRA
from touchstone_encoders.loading import LoadedEncoder
from touchstone_runtime.serving import ProgressFunction, no_progress

from touchstone_trainer.processes import ALONE, Processes
from touchstone_trainer.recipes.class_mean_head import start_from_class_means
from touchstone_trainer.recipes.contrastive import ContrastiveLearner
from touchstone_trainer.recipes.cross_entropy import CrossEntropyLearner
from touchstone_trainer.recipes.head_only import mix_head
from touchstone_trainer.recipes.learned_prompts import PromptLearner
from touchstone_trainer.recipes.learner import Learner
from touchstone_trainer.recipes.loop import Adapted, train
from touchstone_trainer.recipes.lora import LoRALearner
from touchstone_trainer.recipes.subject import Data, Subject


def adapt(
    subject: Subject,
    data: Data,
    recipe: Recipe,
    *,
    learning_rate: float | None,
    seed: int,
    processes: Processes = ALONE,
    progress: ProgressFunction = no_progress,
) -> Adapted:
    """May change `subject.classifier`. Raises Diverged, NoTextTower or Invalid."""
    if isinstance(recipe, HeadOnly):
        return mix_head(subject, data, recipe, progress)
    if learning_rate is None:
        raise Invalid(f"{recipe.kind} needs a learning rate", code="learning_rate_missing")
    if not isinstance(subject.tower, LoadedEncoder):
        start_from_class_means(subject, data)
    return train(
        learner_of(recipe, subject, seed),
        subject,
        data,
        recipe,
        learning_rate=learning_rate,
        seed=seed,
        processes=processes,
        progress=progress,
    )


def learner_of(recipe: CrossEntropy | Contrastive | LoRA | LearnedPrompts, subject: Subject, seed: int) -> Learner:
    match recipe:
        case CrossEntropy():
            return CrossEntropyLearner(subject)
        case Contrastive():
            return ContrastiveLearner(subject)
        case LoRA():
            return LoRALearner(subject, recipe.rank, seed)
        case LearnedPrompts():
            return PromptLearner(subject, recipe.context_vectors, seed)
        case _:
            assert_never(recipe)
