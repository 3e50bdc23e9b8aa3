"""One adapter per contract of the queue `generator`."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import pyarrow as pa
from touchstone_contracts.arms.generation import Sampler
from touchstone_contracts.image_sets import ImageSet
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import (
    COLLECT_CAPTIONS,
    GENERATE_IMAGES,
    PERTURB_IMAGES,
    TUNE_GENERATOR,
    WRITE_CAPTIONS,
    WRITE_PROMPTS,
    CollectCaptions,
    GenerateImages,
    GeneratorTuned,
    ImagesFound,
    ModelRef,
    PerturbImages,
    PromptsWritten,
    TunedModel,
    TuneGenerator,
    WriteCaptions,
    WritePrompts,
)
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.class_names import with_names
from touchstone_runtime.done_items import DoneItems, resumed
from touchstone_runtime.image_sets import ImageRecord, ImageSetWriter, read_images
from touchstone_runtime.logs import get_logger
from touchstone_runtime.serving import Handlers, Progress, ProgressFunction

from touchstone_generator.devices import arithmetic
from touchstone_generator.encoding import encode_png
from touchstone_generator.execution import compute_device
from touchstone_generator.parents import Parent, kept_images, perturbation_prompt, share
from touchstone_generator.pipelines import GeneratorCache, LoadedGenerator, require_scheduler, require_tunable
from touchstone_generator.prompts.captions import write_captions
from touchstone_generator.prompts.retrieved import FoundCaption, collect_captions
from touchstone_generator.prompts.table import caption_table, collected_table, prompt_table, read_prompts
from touchstone_generator.prompts.templates import Prompt, write_template_prompts
from touchstone_generator.prompts.writers import WRITER_FUNCTIONS
from touchstone_generator.sampling.batches import batches
from touchstone_generator.sampling.conditions import count_truncated
from touchstone_generator.sampling.img2img import ImageToImage, Sketch, squash
from touchstone_generator.sampling.pixels import StepDone, reduced
from touchstone_generator.sampling.schedulers import build_scheduler
from touchstone_generator.sampling.seeds import image_seed, perturbation_seed
from touchstone_generator.sampling.txt2img import Draft, TextToImage
from touchstone_generator.tuning.images import draw_tuning_images, tuning_set
from touchstone_generator.tuning.lora import tune_unet

log = get_logger(__name__)


@dataclass(frozen=True)
class Tools:
    artifacts: Artifacts
    generators: GeneratorCache


handlers = Handlers[Tools]("generator")


@handlers.serve(WRITE_PROMPTS)
def write_prompts(request: WritePrompts, tools: Tools, progress: Progress) -> PromptsWritten:
    request = with_names(request, tools.artifacts)
    prompts = write_template_prompts(request.classes, request.templates, request.images_per_class)
    return _written(tools.artifacts, prompt_table(prompts), {})


@handlers.serve(WRITE_CAPTIONS)
def caption_classes(request: WriteCaptions, tools: Tools, progress: Progress) -> PromptsWritten:
    request = with_names(request, tools.artifacts)
    settings, generators = request.captions.writer, tools.generators
    make_writer = WRITER_FUNCTIONS.of(settings)
    captions, notes = write_captions(
        request.classes,
        request.templates,
        request.images_per_class,
        request.captions,
        request.seed,
        make_writer(settings, request.templates, generators.library, generators.device, progress),
    )
    return _written(tools.artifacts, caption_table(captions), notes)


@handlers.serve(COLLECT_CAPTIONS)
def reuse_captions(request: CollectCaptions, tools: Tools, progress: Progress) -> PromptsWritten:
    request = with_names(request, tools.artifacts)
    _, table = kept_images(tools.artifacts, request.pool)
    columns = (table[name].to_pylist() for name in ("id", "class_id", "caption"))
    found = [FoundCaption(*row) for row in zip(*columns, strict=True)]
    captions, notes = collect_captions(
        found, request.classes, request.templates, request.images_per_class, request.seed
    )
    return _written(tools.artifacts, collected_table(captions), notes)


def _written(artifacts: Artifacts, table: pa.Table, notes: dict[str, int]) -> PromptsWritten:
    log.info("prompts.written", prompts=table.num_rows, **notes)
    return PromptsWritten(prompts=artifacts.put_table(table), count=table.num_rows, notes=notes)


@handlers.serve(TUNE_GENERATOR, progress_counts="updates")
def tune_generator(request: TuneGenerator, tools: Tools, progress: Progress) -> GeneratorTuned:
    request = with_names(request, tools.artifacts)
    images, table = kept_images(tools.artifacts, request.images)
    rows = draw_tuning_images(table["class_id"].to_numpy(), request.images_per_class, request.seed, request.class_id)
    chosen = table.take(rows)
    loaded = tools.generators.fresh(request.generator)
    require_tunable(loaded)
    result = GeneratorTuned(
        weights=None,
        base_digest=loaded.digest,
        images=request.images,
        image_ids=tuple(chosen["id"].to_pylist()),
        lora=request.lora,
        first_loss=None,
        last_loss=None,
    )
    if chosen.num_rows:
        encoded = read_images(tools.artifacts, chosen, images.shards)
        tuned = tune_unet(
            loaded.pipeline,
            tuning_set(encoded, chosen["class_id"].to_pylist(), request.classes, request.templates, request.image_size),
            request.lora,
            request.seed,
            progress,
            progress.savepoints,
        )
        losses = {"first_loss": tuned.mean_loss(last=False), "last_loss": tuned.mean_loss(last=True)}
        result = result.model_copy(update={"weights": tools.artifacts.put_blob(tuned.weights), **losses})
    log.info("generator.tuned", images=len(rows), first_loss=result.first_loss, last_loss=result.last_loss)
    return result


@handlers.serve(GENERATE_IMAGES, progress_counts="images")
def generate_images(request: GenerateImages, tools: Tools, progress: Progress) -> ImagesFound:
    prompts = _requested_prompts(request, tools.artifacts)
    loaded = _loaded(request.generator, request.sampler, tools)
    painter = TextToImage(loaded.pipeline, request.sampler, request.image_size)
    seeds = [image_seed(request.seed, prompt.prompt_id, prompt.index) for prompt in prompts]
    drafts = [Draft(prompt.prompt, seed) for prompt, seed in zip(prompts, seeds, strict=True)]
    images = _encoded_all(
        lambda done: _draw_all(painter.draw, drafts, request.first, request.sampler.batch_size, progress, done),
        request.stored_size,
        loaded,
        progress,
    )
    made_by = _made_by(loaded, request.sampler, request.stored_size or request.image_size)
    records = [
        replace(
            made_by,
            source_kind="generated",
            source_key=prompt.prompt_id,
            class_id=prompt.class_id,
            caption=prompt.prompt,
            seed=seed,
        )
        for prompt, seed in zip(prompts, seeds, strict=True)
    ]
    found = _found(tools.artifacts, images, records, loaded)
    untuned = isinstance(request.generator, TunedModel) and not loaded.tuning_digest
    return found.model_copy(update={"notes": found.notes | {"untuned": len(records)}}) if untuned else found


def _requested_prompts(request: GenerateImages, artifacts: Artifacts) -> list[Prompt]:
    """Rows first..last-1. Raises Invalid when the table has no such rows."""
    # Every step that makes prompts answers with a PromptsWritten.
    written = artifacts.result(WRITE_PROMPTS, request.prompts)
    if not request.first < request.last <= written.count:
        raise Invalid(
            f"rows {request.first}..{request.last - 1} are not in a table of {written.count} prompts",
            code="rows_out_of_range",
        )
    table = artifacts.get_table(written.prompts)
    return read_prompts(table.slice(request.first, request.last - request.first))


@handlers.serve(PERTURB_IMAGES, progress_counts="images")
def perturb_images(request: PerturbImages, tools: Tools, progress: Progress) -> ImagesFound:
    parents, first = _requested_parents(request, tools.artifacts)
    loaded = _loaded(request.generator, request.sampler, tools)
    prompts = [perturbation_prompt(parent, request) for parent in parents]
    seeds = [perturbation_seed(request.seed, parent.image_id) for parent in parents]
    sketches = [
        Sketch(squash(parent.image, request.image_size), prompt, seed)
        for parent, prompt, seed in zip(parents, prompts, seeds, strict=True)
    ]
    size = request.stored_size or request.image_size
    made_by = replace(_made_by(loaded, request.sampler, size), gamma=request.gamma)
    images = _encoded_all(
        lambda done: _perturbed(request, loaded, sketches, first, progress, done),
        request.stored_size,
        loaded,
        progress,
    )
    records = [
        replace(
            made_by,
            source_kind="perturbed",
            source_key=parent.source_key,
            parent=parent.image_id,
            class_id=parent.class_id,
            caption=prompt,
            seed=seed,
        )
        for parent, prompt, seed in zip(parents, prompts, seeds, strict=True)
    ]
    return _found(tools.artifacts, images, records, loaded)


def _requested_parents(request: PerturbImages, artifacts: Artifacts) -> tuple[list[Parent], int]:
    """The share's parents, and the position of the first in the pool."""
    pool, table = kept_images(artifacts, request.pool)
    rows = share(table.num_rows, request.part, request.parts)
    table = table.slice(rows.start, len(rows))
    columns = (table[name].to_pylist() for name in ("id", "class_id", "caption", "source_key"))
    images = read_images(artifacts, table, pool.shards)
    return [Parent(*row) for row in zip(*columns, images, strict=True)], rows.start


def _perturbed(
    request: PerturbImages,
    loaded: LoadedGenerator,
    sketches: Sequence[Sketch],
    first: int,
    progress: ProgressFunction,
    done: int,
) -> Iterable[Iterable[np.ndarray]]:
    if request.gamma == 0:
        return [[sketch.pixels for sketch in sketches[done:]]]
    painter = ImageToImage(loaded.pipeline, request.sampler, request.image_size, request.gamma)
    return _draw_all(painter.draw, sketches, first, request.sampler.batch_size, progress, done)


def _loaded(model: ModelRef | TunedModel, sampler: Sampler, tools: Tools) -> LoadedGenerator:
    """The generator with the sampler's scheduler set; untuned where there was no image to tune it on."""
    weights = tools.artifacts.result(TUNE_GENERATOR, model.tuning).weights if isinstance(model, TunedModel) else None
    base = model.base if isinstance(model, TunedModel) else model
    if weights is None:
        loaded = tools.generators.get(base)
    else:
        loaded = tools.generators.tuned(base, weights.digest, lambda: tools.artifacts.get_blob(weights))
    require_scheduler(loaded, sampler.scheduler)
    loaded.pipeline.scheduler = build_scheduler(sampler.scheduler, loaded.scheduler_config, loaded.own_scheduler)
    return loaded


DraftT = TypeVar("DraftT")


def _draw_all(
    draw: Callable[[Sequence[DraftT], int, StepDone], np.ndarray],
    drafts: Sequence[DraftT],
    first: int,
    batch_size: int,
    progress: ProgressFunction,
    done: int,
) -> Iterator[np.ndarray]:
    """Batches of images in order, without the first `done`; the drafts are rows first, first + 1, ... of their table.
    Progress counts images, with the started batch as the share of its steps that are done."""
    for rows in batches(first + done, first + len(drafts), batch_size):
        before = rows.start - first

        def step_done(step: int, steps: int, before: int = before, count: int = len(rows)) -> None:
            progress(before + count * step // steps, len(drafts))

        yield draw(drafts[before : before + len(rows)], rows.start % batch_size, step_done)


def _encoded_all(
    draw_after: Callable[[int], Iterable[Iterable[np.ndarray]]],
    stored_size: int | None,
    loaded: LoadedGenerator,
    progress: Progress,
) -> Iterator[bytes]:
    """PNGs in order. `draw_after(n)` gives batches of images without the first n, which an earlier attempt has made."""

    def rest(done: int) -> Iterator[list[bytes]]:
        for batch in draw_after(done):
            yield [encode_png(reduced(image, stored_size)) for image in batch]

    return resumed(DoneItems(progress.savepoints, "images", _arithmetic(loaded)), rest)


def _arithmetic(loaded: LoadedGenerator) -> str:
    other = loaded.execution.other_arithmetic
    return arithmetic(compute_device(loaded.pipeline)) + (f", {other}" if other else "")


def _made_by(loaded: LoadedGenerator, sampler: Sampler, size: int) -> ImageRecord:
    """What all images of a step have in common. `size`: in pixels."""
    return ImageRecord(
        width=size,
        height=size,
        source_kind="",
        source_key="",
        model_digest=loaded.digest,
        tuning_digest=loaded.tuning_digest,
        scheduler=sampler.scheduler,
        steps=sampler.steps,
        guidance_scale=sampler.guidance_scale,
    )


def _found(
    artifacts: Artifacts, images: Iterable[bytes], records: Sequence[ImageRecord], loaded: LoadedGenerator
) -> ImagesFound:
    writer = ImageSetWriter(artifacts)
    for image, record in zip(images, records, strict=True):
        writer.add(image, record)
    stored: ImageSet = writer.finish()
    truncated = count_truncated(loaded.pipeline, [record.caption for record in records])
    log.info("images.made", images=stored.count, prompts_truncated=truncated)
    notes = {"prompt_truncated": truncated}
    if loaded.execution.other_arithmetic:
        notes["other_arithmetic"] = stored.count
    return ImagesFound(images=stored, requested=len(records), notes=notes)
