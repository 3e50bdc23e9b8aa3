"""What an experiment asks of an encoder without a text tower that only a text tower can do."""

from collections.abc import Iterator

from touchstone_contracts.problems import FieldError

from touchstone_planning.resolved import ResolvedExperiment

RECIPES_WITH_TEXT = ("contrastive", "head_only", "learned_prompts")


def missing_text_towers(resolved: ResolvedExperiment) -> Iterator[FieldError]:
    spec = resolved.spec
    if resolved.encoder.kind == "timm":
        without = f"encoder {resolved.encoder.name!r} is an image backbone without a text tower"
        if "zero_shot" in spec.evaluation.metrics:
            detail = f"{without}: ask for linear_probe or regularised_probe alone"
            yield FieldError(pointer="/evaluation/metrics", detail=detail)
        if spec.training_arms and spec.recipe.kind in RECIPES_WITH_TEXT:
            detail = f"{without}: {spec.recipe.kind} trains by text, cross_entropy and lora do not"
            yield FieldError(pointer="/recipe/kind", detail=detail)
    if spec.training_arms and resolved.encoder_for_scores.kind == "timm":
        detail = "images are scored against class texts: name a CLIP encoder as curation.score_encoder"
        yield FieldError(pointer="/curation/score_encoder", detail=detail)
