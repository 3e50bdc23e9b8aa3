"""What an experiment asks of an encoder without a text tower that only a text tower can do."""

from collections.abc import Iterator

from touchstone_contracts.adaptation import METRICS
from touchstone_contracts.problems import FieldError, in_words
from touchstone_contracts.recipes import RECIPES
from touchstone_contracts.registry import kind_of

from touchstone_planning.arms.planner import planner_of
from touchstone_planning.resolved import ResolvedExperiment


def missing_text_towers(resolved: ResolvedExperiment) -> Iterator[FieldError]:
    spec = resolved.spec
    if not resolved.encoder.has_text_tower:
        without = f"encoder {resolved.encoder.name!r} is an image backbone without a text tower"
        if any(METRICS[metric].needs_text_tower for metric in spec.evaluation.metrics):
            others = [name for name, metric in METRICS.items() if not metric.needs_text_tower]
            detail = f"{without}: ask for {in_words(others, 'or')} alone"
            yield FieldError(pointer="/evaluation/metrics", detail=detail)
        if spec.training_arms and spec.recipe.needs_text_tower:
            textless = [kind_of(recipe) for recipe in RECIPES if not recipe.needs_text_tower]
            detail = f"{without}: {spec.recipe.kind} trains by text, {in_words(textless, 'and')} do not"
            yield FieldError(pointer="/recipe/kind", detail=detail)
    scored = any(planner_of(arm).needs(arm).text_tower for arm in spec.arms)
    if scored and not resolved.encoder_for_scores.has_text_tower:
        detail = "images are scored against class texts: name a CLIP encoder as curation.score_encoder"
        yield FieldError(pointer="/curation/score_encoder", detail=detail)
    if resolved.judge_encoder is not None and resolved.judge_encoder.kind == "timm":
        yield FieldError(
            pointer="/judge_encoder", detail="a judge compares images with class texts: name a CLIP encoder"
        )
