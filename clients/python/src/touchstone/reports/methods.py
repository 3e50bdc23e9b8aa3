"""The methods paragraph: every setting of an experiment in words, with defaults, from its manifest."""

from collections.abc import Iterator, Mapping
from typing import Any

from touchstone_contracts.adaptation import METRICS
from touchstone_contracts.arms.spec import ArmSpec
from touchstone_contracts.catalogue import Model, on_test_set
from touchstone_contracts.experiment import ExperimentSpec
from touchstone_contracts.registration import FAILED_RUN_WORDS, SPREAD_WORDS, STOPPING_WORDS
from touchstone_contracts.views import ExperimentManifest, Verdict

MOST_ENTRIES = 20
"""Of a list or mapping that is written out; longer ones are in the spec alone."""


def methods_paragraph(manifest: ExperimentManifest, verdict: Verdict | None) -> str:
    return " ".join(_sentences(manifest, verdict))


def _sentences(manifest: ExperimentManifest, verdict: Verdict | None) -> Iterator[str]:
    spec = manifest.spec
    encoders = {encoder.name: encoder for encoder in manifest.encoders}
    yield f"We adapted the encoder {_model_words(spec.encoder, encoders)} to {_targets(manifest)}."
    yield f"Training images came from the upstream {spec.upstream}, at sizes of {_numbers(spec.sizes)} images in total."
    yield f"Every arm and size was trained with {len(spec.seeds)} seeds ({_numbers(spec.seeds)}){_sources(spec)}."
    yield f"Images and draws follow from the sampling seed {spec.sampling_seed}."
    yield from (_arm_sentence(arm, manifest) for arm in spec.arms)
    yield f"Curation, the same for every arm: {in_words(spec.curation.model_dump(mode='json'))}."
    if spec.judge_encoder is not None:
        yield f"Labels were checked with the encoder {_model_words(spec.judge_encoder, encoders)}."
    yield f"Recipe, the same for every arm: {in_words(spec.recipe.model_dump(mode='json'))}."
    yield f"Evaluation: {in_words(spec.evaluation.model_dump(mode='json'))}."
    yield f"The zero-shot head calls classes by their {spec.zero_shot_names} names."
    yield from _comparison_sentences(spec, verdict)


def _targets(manifest: ExperimentManifest) -> str:
    return ", ".join(
        f"the target {target.name} ({len(target.classes)} classes, {_images(target.splits.test)} test images)"
        for target in manifest.targets
    )


def _images(source: Any) -> str:
    parts = source if isinstance(source, tuple) else (source,)
    counts = [getattr(part, "images", None) for part in parts]
    return "an unstated number of" if None in counts else str(sum(count for count in counts if count))


def _model_words(name: str, models: Mapping[str, Model]) -> str:
    model = models.get(name)
    if model is None:
        return name
    lineage = f", trained on {model.trained_on}" if model.trained_on else ""
    return f"{name} ({model.model}{lineage})"


def _sources(spec: ExperimentSpec) -> str:
    parts = [f"training sets drawn with {_numbers(spec.draw_seeds)}"] if spec.draw_seeds else []
    parts += [f"optimised with {_numbers(spec.optimisation_seeds)}"] if spec.optimisation_seeds else []
    return f", {', '.join(parts)}" if parts else ""


def _arm_sentence(arm: ArmSpec, manifest: ExperimentManifest) -> str:
    if not arm.trains:
        return f"The arm {arm.name} is the untouched encoder."
    settings = {name: value for name, value in arm.model_dump(mode="json").items() if name not in ("kind", "name")}
    generator = next((each for each in manifest.generators if each.name == settings.get("generator")), None)
    if generator is not None:
        settings["generator"] = (
            f"{_model_words(generator.name, {generator.name: generator})}, {generator.image_size} pixels a side"
        )
        # What was left to the generator's family is a number when it samples.
        settings["sampler"] = arm.sampler.of_family(generator.family).model_dump(mode="json")  # type: ignore[attr-defined]
    return f"The arm {arm.name} ({arm.kind.replace('_', ' ')}) has {in_words(settings) or 'no settings'}."


def _comparison_sentences(spec: ExperimentSpec, verdict: Verdict | None) -> Iterator[str]:
    primary = spec.primary
    if primary is None:
        return
    measure = on_test_set(METRICS[primary.metric].words, primary.test_set)
    yield (
        f"The primary endpoint is the mean over targets and sizes of {primary.a} minus {primary.b} in {measure}, with "
        f"a confidence of {100 * primary.confidence:g} % and delta = {primary.delta:g} in accuracy, the smallest "
        f"difference that matters."
    )
    yield f"It was {STOPPING_WORDS.get(primary.stopping, primary.stopping)}{_looks(primary.looks, primary.spending)}."
    spread = verdict.decided_by if verdict is not None else primary.spread
    if spread is not None:
        yield f"Its interval uses the {SPREAD_WORDS[spread]}."
    yield f"As for runs that fail, {FAILED_RUN_WORDS[primary.failed_runs]}."
    if verdict is not None:
        result = verdict.primary
        freedom = f"{result.degrees_of_freedom:.1f} degrees of freedom"
        yield f"It rests on {result.test_images} test images and {result.seeds} seeds, with {freedom}."


def _looks(looks: tuple[int, ...], spending: str) -> str:
    return f" (after {_numbers(looks)} seeds, spending {spending.replace('_', ' ')})" if looks else ""


def _numbers(values: tuple[int, ...]) -> str:
    return ", ".join(map(str, values))


def in_words(value: Any) -> str:
    """A setting with all that it holds, e.g. `kind keep top fraction, fraction 0.3`. Nothing is left out but what is
    None, empty, or longer than `MOST_ENTRIES`, which is counted."""
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case list() | dict() if len(value) > MOST_ENTRIES:
            return f"{len(value)} entries (see the spec)"
        case dict():
            return ", ".join(
                f"{_name(name)} {_nested(inner)}" for name, inner in value.items() if inner not in (None, [], {}, "")
            )
        case list():
            return " and ".join(_nested(inner) for inner in value)
    return str(value)


def _nested(value: Any) -> str:
    return f"({in_words(value)})" if isinstance(value, dict) else in_words(value)


def _name(field: str) -> str:
    return field.replace("_", " ")
