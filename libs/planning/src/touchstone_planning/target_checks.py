"""What the recipe and the metrics need of every target: each error points at the field that asks for it."""

from collections.abc import Iterator

from touchstone_contracts.problems import FieldError
from touchstone_contracts.recipes.learned_prompts import LearnedPrompts, context_template

from touchstone_planning.resolved import ResolvedExperiment


def unmet_needs(resolved: ResolvedExperiment) -> Iterator[FieldError]:
    yield from _train_splits(resolved)
    yield from _context_words(resolved)


def _train_splits(resolved: ResolvedExperiment) -> Iterator[FieldError]:
    """The regularised probe is fitted on train and chosen on validation."""
    for position, metric in enumerate(resolved.spec.evaluation.metrics):
        for target in resolved.targets:
            if metric == "regularised_probe" and target.splits.train is None:
                detail = f"target {target.name!r} has no training split: give it one or ask for linear_probe"
                yield FieldError(pointer=f"/evaluation/metrics/{position}", detail=detail)


def _context_words(resolved: ResolvedExperiment) -> Iterator[FieldError]:
    recipe = resolved.spec.recipe
    if not isinstance(recipe, LearnedPrompts) or recipe.context_vectors is not None:
        return
    for target in resolved.targets:
        if context_template(target.templates.zero_shot) is None:
            detail = f"no zero-shot template of target {target.name!r} has words before the name: give a number"
            yield FieldError(pointer="/recipe/context_vectors", detail=detail)
