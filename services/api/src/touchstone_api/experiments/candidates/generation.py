"""Generated candidates: one step writes the prompts, then one step per chunk of images."""

from collections.abc import Iterator

from touchstone_contracts.arms.generation import Generation
from touchstone_contracts.steps import GENERATE_IMAGES, WRITE_PROMPTS, GenerateImages, ModelRef, WritePrompts

from touchstone_api.experiments.candidates.image_set import PlannedImages
from touchstone_api.experiments.dag import TargetContext

IMAGES_PER_CHUNK = 128
"""Images generated in one step: minutes of GPU work at 512 px, seconds on the miniverse."""


def plan_generation(arm: Generation, context: TargetContext, role: str) -> list[PlannedImages]:
    generator = context.resolved.generator(arm.generator)
    images_per_class = arm.images_per_class(len(context.target.classes))
    write = WritePrompts(
        classes=context.target.classes,
        templates=context.target.templates.synthesis,
        images_per_class=images_per_class,
    )
    prompts = context.plan.add(WRITE_PROMPTS, write, f"{role}/prompts")
    chunks = []
    for first, last in _chunks(images_per_class * len(context.target.classes)):
        request = GenerateImages(
            prompts=prompts,
            first=first,
            last=last,
            generator=ModelRef.of(generator),
            image_size=generator.image_size,
            sampler=arm.sampler,
            seed=context.resolved.spec.sampling_seed,
        )
        part = f"[{first}:{last}]"
        step = context.plan.add(GENERATE_IMAGES, request, f"{role}/generate{part}")
        chunks.append(PlannedImages(step, f"{role}{part}"))
    return chunks


def _chunks(total: int) -> Iterator[tuple[int, int]]:
    for first in range(0, total, IMAGES_PER_CHUNK):
        yield first, min(first + IMAGES_PER_CHUNK, total)
