"""The generator's handlers end to end: a pipeline from disk, an object store in memory."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.tiny_pipeline import IMAGE_SIZE
from touchstone_contracts.arms.generation import Sampler
from touchstone_contracts.catalogue import ClassLabel, Generator
from touchstone_contracts.identity import derive_seed, sha256
from touchstone_contracts.messages import StepFailed, StepMessage, StepProgressed, StepReport, StepSucceeded
from touchstone_contracts.problems import Cancelled, Invalid
from touchstone_contracts.steps import (
    GENERATE_IMAGES,
    WRITE_PROMPTS,
    Contract,
    GenerateImages,
    ImagesFound,
    ModelRef,
    WritePrompts,
)
from touchstone_contracts.values import StepId, Strict
from touchstone_generator.pipelines import GeneratorCache
from touchstone_generator.sampling.pixels import NonFinite
from touchstone_generator.tasks import Tools, generate_images, handlers
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.image_sets import read_images
from touchstone_runtime.library import Library
from touchstone_runtime.metrics import WorkerMetrics
from touchstone_runtime.objects import MemoryObjects
from touchstone_runtime.serving import Progress, StepRunner

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSES = tuple(ClassLabel(id=number, display_name=name) for number, name in enumerate(("cat", "dog", "owl")))
TEMPLATES = ("an icon of a {name}", "a {name}")
SAMPLER = Sampler(steps=3, guidance_scale=3.0, batch_size=4)
ROWS = 12


class ReportList:
    """Keeps reports; `cancel_after` progress reports later the step is unwanted."""

    def __init__(self) -> None:
        self.reports: list[StepReport] = []
        self.cancel_after: int | None = None

    def send(self, report: StepReport) -> None:
        self.reports.append(report)

    def is_unwanted(self, step: str, attempt: int) -> bool:
        progressed = sum(isinstance(report, StepProgressed) for report in self.reports)
        return self.cancel_after is not None and progressed >= self.cancel_after


@dataclass
class Workshop:
    """A generator worker without a queue."""

    library: Path
    generator: Generator
    artifacts: Artifacts
    tools: Tools
    reporter: ReportList
    prompts: StepId = ""

    def run(self, contract: Contract, request: Strict) -> StepId:
        step = contract.step_id(request)
        self.runner().run(
            StepMessage(
                step_id=step,
                attempt=1,
                kind=contract.name,
                version=contract.version,
                request=request.model_dump(mode="json"),
            )
        )
        return step

    def runner(self) -> StepRunner[Tools]:
        return StepRunner(handlers, self.tools, self.artifacts, self.reporter, WorkerMetrics(), "test", 60.0)

    def request(self, first: int = 0, last: int = ROWS, sampler: Sampler = SAMPLER, seed: int = 7) -> GenerateImages:
        return GenerateImages(
            prompts=self.prompts,
            first=first,
            last=last,
            generator=ModelRef.of(self.generator),
            image_size=IMAGE_SIZE,
            sampler=sampler,
            seed=seed,
        )

    def generate(self, first: int = 0, last: int = ROWS, sampler: Sampler = SAMPLER, seed: int = 7) -> ImagesFound:
        request = self.request(first, last, sampler, seed)
        return generate_images(request, self.tools, self.progress(request))

    def progress(self, request: GenerateImages) -> Progress:
        message = StepMessage(
            step_id=GENERATE_IMAGES.step_id(request), attempt=1, kind=GENERATE_IMAGES.name, version=1, request={}
        )
        return Progress(message, self.reporter)

    def images(self, found: ImagesFound) -> list[bytes]:
        table = self.artifacts.get_table(found.images.manifest)
        return list(read_images(self.artifacts, table, found.images.shards))


@pytest.fixture
def workshop(library: Path, generator: Generator) -> Workshop:
    artifacts = Artifacts(MemoryObjects())
    tools = Tools(artifacts, GeneratorCache(Library(library), torch.device("cpu")))
    shop = Workshop(library, generator, artifacts, tools, ReportList())
    request = WritePrompts(classes=CLASSES, templates=TEMPLATES, images_per_class=ROWS // len(CLASSES))
    shop.prompts = shop.run(WRITE_PROMPTS, request)
    return shop


def test_prompts_then_images_travel_through_the_step_runner(workshop: Workshop) -> None:
    step = workshop.run(GENERATE_IMAGES, workshop.request(0, 4))

    assert isinstance(workshop.reporter.reports[-1], StepSucceeded)
    found = workshop.artifacts.result(GENERATE_IMAGES, step)
    assert found.requested == found.images.count == 4
    manifest = workshop.artifacts.verified(step)
    assert manifest is not None
    assert len(manifest.blobs) == 2  # the table and one shard


def test_every_image_carries_its_provenance(workshop: Workshop) -> None:
    found = workshop.generate()

    rows = workshop.artifacts.get_table(found.images.manifest).to_pylist()
    prompts = workshop.artifacts.get_table(workshop.artifacts.result(WRITE_PROMPTS, workshop.prompts).prompts)
    assert len(rows) == ROWS
    for row, prompt, image in zip(rows, prompts.to_pylist(), workshop.images(found), strict=True):
        assert row["id"] == sha256(image)
        assert row["source_kind"] == "generated"
        assert (row["source_key"], row["class_id"], row["caption"]) == (
            prompt["prompt_id"],
            prompt["class_id"],
            prompt["prompt"],
        )
        assert row["seed"] == derive_seed(7, prompt["prompt_id"], prompt["index"])
        assert row["model_digest"] == workshop.generator.digest
        assert (row["scheduler"], row["steps"], row["guidance_scale"]) == ("ddim", 3, 3.0)
        assert (row["parent"], row["tuning_digest"]) == ("", "")
        assert (row["width"], row["height"]) == (IMAGE_SIZE, IMAGE_SIZE)
        assert Image.open(io.BytesIO(image)).format == "PNG"
    assert len({row["id"] for row in rows}) == ROWS


@pytest.mark.parametrize("scheduler", ["ddim", "dpm_solver", "euler", "pndm", "unipc"])
def test_any_split_into_chunks_gives_the_same_bytes(workshop: Workshop, scheduler: str) -> None:
    sampler = SAMPLER.model_copy(update={"scheduler": scheduler})
    whole = workshop.images(workshop.generate(0, 10, sampler))

    tail = workshop.images(workshop.generate(3, 10, sampler))  # the later chunk first
    head = workshop.images(workshop.generate(0, 3, sampler))

    assert len(whole) == 10
    assert head + tail == whole


def test_a_freshly_loaded_pipeline_gives_the_same_bytes(workshop: Workshop) -> None:
    again = GeneratorCache(Library(workshop.library), torch.device("cpu"))  # as another worker loads it
    first = workshop.generate(0, 4)
    workshop.tools = Tools(workshop.artifacts, again)

    assert workshop.generate(0, 4) == first


def test_prompts_that_lose_words_are_counted_once_each(workshop: Workshop) -> None:
    templates = ("a {name}", "a {name} that is far too long for this encoder")
    request = WritePrompts(classes=CLASSES, templates=templates, images_per_class=4)
    workshop.prompts = workshop.run(WRITE_PROMPTS, request)

    assert workshop.generate(0, 4).notes == {"prompt_truncated": 2}


def test_seed_sampler_and_prompt_each_change_the_picture(workshop: Workshop) -> None:
    picture = workshop.images(workshop.generate(0, 1))
    others = [
        workshop.images(workshop.generate(0, 1, seed=8)),
        workshop.images(workshop.generate(0, 1, SAMPLER.model_copy(update={"steps": 4}))),
        workshop.images(workshop.generate(0, 1, SAMPLER.model_copy(update={"guidance_scale": 8.0}))),
        workshop.images(workshop.generate(0, 1, SAMPLER.model_copy(update={"guidance_scale": 1.0}))),
        workshop.images(workshop.generate(0, 1, SAMPLER.model_copy(update={"negative_prompt": "a dog"}))),
        workshop.images(workshop.generate(1, 2)),
    ]

    assert all(other != picture for other in others)


def test_images_are_what_diffusers_makes_of_the_same_noise(workshop: Workshop) -> None:
    """The independent check: the pipeline called the usual way, with texts, for one image."""
    row = workshop.artifacts.get_table(workshop.generate(5, 6).images.manifest).to_pylist()[0]
    image = workshop.images(workshop.generate(5, 6))[0]
    pipeline = workshop.tools.generators.get(ModelRef.of(workshop.generator)).pipeline
    expected = pipeline(
        row["caption"],
        negative_prompt="",
        num_inference_steps=SAMPLER.steps,
        guidance_scale=SAMPLER.guidance_scale,
        height=IMAGE_SIZE,
        width=IMAGE_SIZE,
        latents=torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(row["seed"])),
    ).images[0]

    difference = np.asarray(Image.open(io.BytesIO(image)), dtype=int) - np.asarray(expected, dtype=int)
    assert np.abs(difference).max() <= 1  # another batch shape may round differently


def test_a_cancelled_step_stops_between_denoising_steps(workshop: Workshop) -> None:
    workshop.reporter.cancel_after = 1
    with pytest.raises(Cancelled):
        workshop.generate(0, 12, SAMPLER.model_copy(update={"steps": 100}))

    workshop.reporter.cancel_after = None
    assert workshop.generate(0, 2).images.count == 2  # the pipeline is still usable


def test_progress_counts_images_and_ends_at_all_of_them(workshop: Workshop) -> None:
    counts: list[tuple[int, int | None]] = []

    class Counting(Progress):
        def __call__(self, done: int, total: int | None = None) -> None:
            counts.append((done, total))

    request = workshop.request(1, 10)
    generate_images(request, workshop.tools, Counting(workshop.progress(request).message, workshop.reporter))

    assert len(counts) == 3 * SAMPLER.steps  # batches 1-3, 4-7 and 8-9
    assert counts == sorted(counts)
    assert counts[-1] == (9, 9)


@pytest.mark.parametrize(("first", "last"), [(0, ROWS + 1), (ROWS, ROWS + 1), (5, 5), (6, 5)])
def test_rows_that_are_not_in_the_table_are_refused(workshop: Workshop, first: int, last: int) -> None:
    with pytest.raises(Invalid) as refused:
        workshop.generate(first, last)
    assert refused.value.code == "rows_out_of_range"


@pytest.mark.parametrize("image_size", [0, 30, -8])
def test_a_size_the_pipeline_cannot_make_is_refused(workshop: Workshop, image_size: int) -> None:
    request = workshop.request(0, 1).model_copy(update={"image_size": image_size})
    with pytest.raises(Invalid) as refused:
        generate_images(request, workshop.tools, workshop.progress(request))
    assert refused.value.code == "image_size"


def test_another_image_size_works_through_the_same_code(workshop: Workshop) -> None:
    request = workshop.request(0, 1, Sampler(steps=1, batch_size=1)).model_copy(update={"image_size": 264})
    found = generate_images(request, workshop.tools, workshop.progress(request))
    assert Image.open(io.BytesIO(workshop.images(found)[0])).size == (264, 264)


def test_images_can_be_stored_smaller_than_they_are_sampled(workshop: Workshop) -> None:
    full = [Image.open(io.BytesIO(image)) for image in workshop.images(workshop.generate(0, 2))]
    request = workshop.request(0, 2).model_copy(update={"stored_size": IMAGE_SIZE // 2})
    assert GENERATE_IMAGES.step_id(request) != GENERATE_IMAGES.step_id(workshop.request(0, 2))
    found = generate_images(request, workshop.tools, workshop.progress(request))
    small = [Image.open(io.BytesIO(image)) for image in workshop.images(found)]
    for large, reduced in zip(full, small, strict=True):
        assert (reduced.size, reduced.format) == ((IMAGE_SIZE // 2, IMAGE_SIZE // 2), "PNG")
        wanted = large.resize(reduced.size, Image.Resampling.BICUBIC)
        assert np.array_equal(np.asarray(reduced), np.asarray(wanted))
    table = workshop.artifacts.get_table(found.images.manifest)
    assert set(table["width"].to_pylist()) == set(table["height"].to_pylist()) == {IMAGE_SIZE // 2}


@pytest.mark.parametrize("part", ["unet", "vae"])
def test_values_that_are_not_finite_are_an_error_never_a_black_image(workshop: Workshop, part: str) -> None:
    pipeline = workshop.tools.generators.get(ModelRef.of(workshop.generator)).pipeline
    with torch.no_grad():
        next(getattr(pipeline, part).parameters()).fill_(torch.inf if part == "unet" else torch.nan)
        if part == "vae":
            pipeline.vae.decoder.layers[-1].bias.fill_(torch.nan)

    step = workshop.run(GENERATE_IMAGES, workshop.request(0, 1))

    failed = workshop.reporter.reports[-1]
    assert isinstance(failed, StepFailed)
    assert failed.problem.code == NonFinite.code
    assert not failed.retryable
    assert workshop.artifacts.manifest(step) is None
