"""One adapter per contract of the queue `generator`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from touchstone_contracts.image_sets import ImageSet
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import (
    GENERATE_IMAGES,
    WRITE_PROMPTS,
    GenerateImages,
    ImagesFound,
    PromptsWritten,
    WritePrompts,
)
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.image_sets import ImageRecord, ImageSetWriter
from touchstone_runtime.logs import get_logger
from touchstone_runtime.serving import Handlers, Progress, ProgressFunction

from touchstone_generator.encoding import encode_png
from touchstone_generator.pipelines import GeneratorCache
from touchstone_generator.prompts.table import prompt_table, read_prompts
from touchstone_generator.prompts.templates import Prompt, write_template_prompts
from touchstone_generator.sampling.batches import batches
from touchstone_generator.sampling.schedulers import build_scheduler
from touchstone_generator.sampling.seeds import image_seed
from touchstone_generator.sampling.txt2img import Draft, TextToImage

log = get_logger(__name__)


@dataclass(frozen=True)
class Tools:
    artifacts: Artifacts
    generators: GeneratorCache


handlers = Handlers[Tools]("generator")


@handlers.serve(WRITE_PROMPTS)
def write_prompts(request: WritePrompts, tools: Tools, progress: Progress) -> PromptsWritten:
    prompts = write_template_prompts(request.classes, request.templates, request.images_per_class)
    log.info("prompts.written", prompts=len(prompts), classes=len(request.classes))
    return PromptsWritten(prompts=tools.artifacts.put_table(prompt_table(prompts)), count=len(prompts))


@handlers.serve(GENERATE_IMAGES)
def generate_images(request: GenerateImages, tools: Tools, progress: Progress) -> ImagesFound:
    prompts = _requested_prompts(request, tools.artifacts)
    loaded = tools.generators.get(request.generator)
    loaded.pipeline.scheduler = build_scheduler(request.sampler.scheduler, loaded.scheduler_config)
    painter = TextToImage(loaded.pipeline, request.sampler, request.image_size)
    seeds = [image_seed(request.seed, prompt.prompt_id, prompt.index) for prompt in prompts]
    images = _draw_all(painter, prompts, seeds, request, progress)
    stored = _store(tools.artifacts, images, prompts, seeds, request)
    log.info("images.generated", images=stored.count, first=request.first, last=request.last)
    return ImagesFound(images=stored, requested=len(prompts))


def _requested_prompts(request: GenerateImages, artifacts: Artifacts) -> list[Prompt]:
    """Rows first..last-1. Raises Invalid when the table has no such rows."""
    written = artifacts.result(WRITE_PROMPTS, request.prompts)
    if not request.first < request.last <= written.count:
        raise Invalid(
            f"rows {request.first}..{request.last - 1} are not in a table of {written.count} prompts",
            code="rows_out_of_range",
        )
    table = artifacts.get_table(written.prompts)
    return read_prompts(table.slice(request.first, request.last - request.first))


def _draw_all(
    painter: TextToImage,
    prompts: Sequence[Prompt],
    seeds: Sequence[int],
    request: GenerateImages,
    progress: ProgressFunction,
) -> Iterator[np.ndarray]:
    """Images in row order. Progress counts images, with the started batch as the share of its steps that are done."""
    drafts = [Draft(prompt.prompt, seed) for prompt, seed in zip(prompts, seeds, strict=True)]
    for rows in batches(request.first, request.last, request.sampler.batch_size):
        done = rows.start - request.first

        def step_done(step: int, done: int = done, count: int = len(rows)) -> None:
            progress(done + count * step // request.sampler.steps, len(drafts))

        yield from painter.draw(
            drafts[done : done + len(rows)], slot=rows.start % request.sampler.batch_size, step_done=step_done
        )


def _store(
    artifacts: Artifacts,
    images: Iterator[np.ndarray],
    prompts: Sequence[Prompt],
    seeds: Sequence[int],
    request: GenerateImages,
) -> ImageSet:
    writer = ImageSetWriter(artifacts)
    for pixels, prompt, seed in zip(images, prompts, seeds, strict=True):
        record = ImageRecord(
            width=pixels.shape[1],
            height=pixels.shape[0],
            source_kind="generated",
            source_key=prompt.prompt_id,
            class_id=prompt.class_id,
            caption=prompt.prompt,
            seed=seed,
            model_digest=request.generator.digest or "",
        )
        writer.add(encode_png(pixels), record)
    return writer.finish()
