"""Generated candidates: one step for the prompts, one to tune the generator if asked, then one per chunk of images."""

from collections.abc import Iterator

from touchstone_contracts.arms.generation import Generation
from touchstone_contracts.arms.tuning import Tuning
from touchstone_contracts.catalogue import Generator
from touchstone_contracts.steps import (
    COLLECT_CAPTIONS,
    GENERATE_IMAGES,
    TUNE_GENERATOR,
    WRITE_CAPTIONS,
    WRITE_PROMPTS,
    CollectCaptions,
    GenerateImages,
    ModelRef,
    TunedModel,
    TuneGenerator,
    WriteCaptions,
    WritePrompts,
)
from touchstone_contracts.values import StepId

from touchstone_planning.candidates.image_set import PlannedImages, PoolOf
from touchstone_planning.dag import TargetContext

IMAGES_PER_CHUNK = 128
"""Images generated in one step: minutes of GPU work at 512 px, seconds on the miniverse."""


def plan_generation(arm: Generation, context: TargetContext, role: str, pool_of: PoolOf) -> list[PlannedImages]:
    generator = context.resolved.generator(arm.generator)
    image_size = arm.image_size or generator.image_size
    prompts = _plan_prompts(arm, context, role, pool_of)
    model: ModelRef | TunedModel = ModelRef.of(generator)
    if arm.tune is not None:
        tuning = _plan_tuning(arm.tune, generator, image_size, context, role, pool_of)
        model = TunedModel(base=ModelRef.of(generator), tuning=tuning)
    classes = len(context.target.classes)
    chunks = []
    for first, last in _chunks(arm.images_per_class(classes) * classes):
        request = GenerateImages(
            prompts=prompts,
            first=first,
            last=last,
            generator=model,
            image_size=image_size,
            sampler=arm.sampler,
            seed=context.resolved.spec.sampling_seed,
        )
        part = f"[{first}:{last}]"
        step = context.plan.add(GENERATE_IMAGES, request, f"{role}/generate{part}")
        chunks.append(PlannedImages(step, f"{role}{part}"))
    return chunks


def _plan_prompts(arm: Generation, context: TargetContext, role: str, pool_of: PoolOf) -> StepId:
    target, seed = context.target, context.resolved.spec.sampling_seed
    classes, templates = target.classes, target.templates.synthesis
    count = arm.images_per_class(len(classes))
    if arm.prompts.kind == "language_model":
        captions = WriteCaptions(
            classes=classes, templates=templates, images_per_class=count, captions=arm.prompts, seed=seed
        )
        return context.plan.add(WRITE_CAPTIONS, captions, f"{role}/captions")
    if arm.prompts.kind == "retrieved_captions":
        pool = pool_of(arm.prompts.arm)
        collected = CollectCaptions(pool=pool, classes=classes, templates=templates, images_per_class=count, seed=seed)
        return context.plan.add(COLLECT_CAPTIONS, collected, f"{role}/captions")
    written = WritePrompts(classes=classes, templates=templates, images_per_class=count)
    return context.plan.add(WRITE_PROMPTS, written, f"{role}/prompts")


def _plan_tuning(
    tune: Tuning, generator: Generator, image_size: int, context: TargetContext, role: str, pool_of: PoolOf
) -> StepId:
    images = pool_of(tune.images.arm) if tune.images.kind == "arm" else context.train
    assert images is not None  # fairness refuses tuning on a target without a training split
    request = TuneGenerator(
        images=images,
        images_per_class=tune.images_per_class,
        classes=context.target.classes,
        templates=context.target.templates.synthesis,
        generator=ModelRef.of(generator),
        image_size=image_size,
        lora=tune.lora,
        seed=context.resolved.spec.sampling_seed,
    )
    return context.plan.add(TUNE_GENERATOR, request, f"{role}/tune")


def _chunks(total: int) -> Iterator[tuple[int, int]]:
    for first in range(0, total, IMAGES_PER_CHUNK):
        yield first, min(first + IMAGES_PER_CHUNK, total)
