"""What the trainer's handlers need around them: one encoder, splits and curated pools of coloured squares."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from support.tiny_models import tiny_encoder
from touchstone_contracts.adaptation import Evaluation, LinearProbe
from touchstone_contracts.catalogue import ClassLabel, Encoder, ParquetFile
from touchstone_contracts.curation import Curation, CurationCounts
from touchstone_contracts.identity import sha256
from touchstone_contracts.image_sets import ImageSet
from touchstone_contracts.layout import Adaptation
from touchstone_contracts.messages import StepManifest, StepMessage, StepReport
from touchstone_contracts.recipes import Recipe
from touchstone_contracts.recipes.cross_entropy import CrossEntropy
from touchstone_contracts.steps import (
    ADAPT_ENCODER,
    CURATE_IMAGES,
    INGEST_IMAGES,
    AdaptEncoder,
    EncoderAdapted,
    EncoderEvaluated,
    EvaluateEncoder,
    ImagesCurated,
    ImagesIngested,
    IngestImages,
    ModelRef,
)
from touchstone_contracts.values import StepId
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.decoding import decode_image
from touchstone_runtime.image_sets import ImageRecord, ImageSetWriter
from touchstone_runtime.objects import MemoryObjects, ObjectStore
from touchstone_runtime.serving import Progress
from touchstone_trainer.settings import TrainerSettings
from touchstone_trainer.tasks import adapt_encoder
from touchstone_trainer.tools import build_tools

CLASSES = tuple(ClassLabel(id=number, display_name=name) for number, name in enumerate(("red", "green", "blue")))
TEMPLATES = ("a photo of a {name} square", "{name}")
RECIPE = CrossEntropy(epochs=6, batch_size=8, learning_rates=(3e-3,))
SPLITS = {"train": 12, "validation": 15, "test": 21}


class SilentReporter:
    def __init__(self, cancelled: bool = False) -> None:
        self.cancelled = cancelled
        self.sent: list[StepReport] = []

    def send(self, report: StepReport) -> None:
        self.sent.append(report)

    def is_unwanted(self, step: str, attempt: int) -> bool:
        return self.cancelled


def progress(*, cancelled: bool = False) -> Progress:
    message = StepMessage(step_id="0" * 64, attempt=1, kind="adapt_encoder", version=1, request={})
    return Progress(message, SilentReporter(cancelled))


def square(class_id: int, number: int) -> bytes:
    rng = np.random.default_rng([class_id, number])
    pixels = rng.integers(0, 120, size=(40, 36 + number % 5, 3), dtype=np.uint8)
    pixels[..., class_id % 3] += 100
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


class World:
    """A library with one encoder, an object store with splits and curated pools."""

    def __init__(
        self, folder: Path, encoder: Callable[[Path], Encoder] = tiny_encoder, objects: ObjectStore | None = None
    ) -> None:
        self.encoder = ModelRef.of(encoder(folder))
        self.objects = objects or MemoryObjects()
        self.artifacts = Artifacts(self.objects)
        self.settings = TrainerSettings(library=folder, device="cpu")
        self.tools = build_tools(self.settings, self.artifacts)
        self.splits = {name: self.ingested(name, count) for name, count in SPLITS.items()}

    def ingested(self, name: str, count: int, classes: int = 3) -> StepId:
        first = 1000 + 100 * sorted(SPLITS).index(name)
        images = self.image_set([(row % classes, first + row) for row in range(count)])
        source = ParquetFile(location="library:x", digest=sha256(f"{name}{classes}".encode()), images=max(count, 1))
        step = INGEST_IMAGES.step_id(IngestImages(source=source))
        return self.finish(step, "ingest_images", ImagesIngested(images=images))

    def pool(self, images: int, dropped: int = 3, classes: int = 3, first: int = 0) -> StepId:
        """`first`: number of its first image; pools whose numbers overlap have images in common."""
        rows = [(row % classes, first + row) for row in range(images + dropped)]
        image_set = self.image_set(rows, kept=images)
        counts = CurationCounts(
            requested=images + dropped,
            obtained=images + dropped,
            leaked=dropped,
            near_duplicate=0,
            filtered=0,
            over_cap=0,
            kept=images,
        )
        step = sha256(f"pool {images} {dropped} {classes} {first}".encode())
        result = ImagesCurated(images=image_set, counts=counts, kept_by_class=())
        return self.finish(step, CURATE_IMAGES.name, result)

    def image_set(self, rows: Sequence[tuple[int, int]], kept: int | None = None) -> ImageSet:
        writer = ImageSetWriter(self.artifacts)
        for position, (class_id, number) in enumerate(rows):
            image = square(class_id, number)
            width, height = decode_image(image).size
            writer.add(
                image,
                ImageRecord(
                    width=width,
                    height=height,
                    source_kind="target",
                    source_key=str(number),
                    class_id=class_id,
                    score=0.3,
                    kept=kept is None or position < kept,
                ),
            )
        return writer.finish()

    def finish(self, step: StepId, kind: str, result: ImagesIngested | ImagesCurated | EncoderAdapted) -> StepId:
        self.artifacts.write_manifest(
            StepManifest(
                step_id=step,
                kind=kind,
                version=1,
                result=result.model_dump(mode="json"),
                blobs=(),
                seconds=0,
                cpu_seconds=0,
                worker="test",
            )
        )
        return step

    def adapt_request(
        self,
        pool: StepId,
        *,
        size: int = 20,
        seed: int = 0,
        learning_rate: float | None = 3e-3,
        recipe: Recipe = RECIPE,
        validation: StepId | None = None,
    ) -> AdaptEncoder:
        return AdaptEncoder(
            pool=pool,
            size=size,
            seed=seed,
            learning_rate=learning_rate,
            recipe=recipe,
            rules=Curation(),
            encoder=self.encoder,
            classes=CLASSES,
            templates=TEMPLATES,
            validation=validation or self.splits["validation"],
        )

    def adapted(self, request: AdaptEncoder) -> Adaptation:
        """The request carried out and its manifest written."""
        step = ADAPT_ENCODER.step_id(request)
        self.finish(step, ADAPT_ENCODER.name, adapt_encoder(request, self.tools, progress()))
        return Adaptation(learning_rate=request.learning_rate, seed=request.seed, step=step)

    def evaluate_request(self, *adaptations: Adaptation, seed: int = 0, train: bool = True) -> EvaluateEncoder:
        return EvaluateEncoder(
            adaptations=adaptations,
            seed=seed,
            encoder=self.encoder,
            classes=CLASSES,
            templates=TEMPLATES,
            train=self.splits["train"] if train else None,
            validation=self.splits["validation"],
            test=self.splits["test"],
            evaluation=Evaluation(linear_probe=LinearProbe(epochs=30, batch_size=16)),
        )

    def arrays(self, result: EncoderEvaluated) -> dict[str, np.ndarray]:
        found = {name: self.artifacts.get_array(p.classes) for name, p in result.predictions.items()}
        assert result.labels is not None
        return found | {"labels": self.artifacts.get_array(result.labels)}
