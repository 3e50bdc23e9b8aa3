"""The inputs of every kind of worker's heaviest steps, synthetic and as many as asked for, in an object store.

`Sizes(1)` has the numbers of the miniverse; `Sizes(10)` ten times as many images of everything. Steps have names
instead of requests: `step_of("test")` is the id of what stands for the ingested test split."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from PIL import Image
from touchstone_contracts.adaptation import Metric
from touchstone_contracts.catalogue import Catalogue, Encoder, Generator, ParquetFile, Target
from touchstone_contracts.curation import CurationCounts
from touchstone_contracts.identity import sha256
from touchstone_contracts.image_sets import ImageSet
from touchstone_contracts.messages import StepManifest
from touchstone_contracts.steps import (
    EncoderEvaluated,
    ImagesCurated,
    ImagesEmbedded,
    ImagesIngested,
    Predictions,
)
from touchstone_contracts.values import Lenient, StepId
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.image_sets import ImageRecord, ImageSetWriter

MINIVERSE = Path(__file__).parents[2] / "miniverse"
TARGET = "broad"
SIDE = 64
DIMENSION = 192
"""Of mini-clip's embeddings."""
SEEDS, JUDGED_SIZES, ARMS = (0, 1, 2), (240, 480), ("retrieved", "synthetic")
METRICS: tuple[Metric, ...] = ("zero_shot", "linear_probe")


@dataclass(frozen=True)
class Sizes:
    """Numbers of images."""

    times: int

    @property
    def splits(self) -> dict[str, int]:
        return {name: self.times * count for name, count in (("train", 651), ("validation", 240), ("test", 720))}

    @property
    def pool(self) -> int:
        return self.times * 1000

    @property
    def training(self) -> int:
        return self.times * 480

    @property
    def shards(self) -> int:
        """Of the upstream, `shard` images each."""
        return self.times * 8

    shard = 2382


def step_of(name: str) -> StepId:
    return sha256(name.encode())


def embedded_step_of(name: str) -> StepId:
    return step_of(f"embeddings of {name}")


@dataclass(frozen=True)
class Entries:
    """What the miniverse's catalogue says."""

    target: Target
    encoder: Encoder
    generator: Generator


def entries() -> Entries:
    catalogue = Catalogue.model_validate(yaml.safe_load((MINIVERSE / "catalogue.yaml").read_text()))
    return Entries(
        target=next(target for target in catalogue.targets if target.name == TARGET),
        encoder=next(encoder for encoder in catalogue.encoders if encoder.name == "mini-clip"),
        generator=catalogue.generators[0],
    )


def finish(artifacts: Artifacts, step: StepId, result: Lenient) -> StepId:
    artifacts.write_manifest(
        StepManifest(
            step_id=step,
            kind="synthetic",
            version=1,
            result=result.model_dump(mode="json"),
            blobs=(),
            seconds=0,
            cpu_seconds=0,
            worker="benchmark",
        )
    )
    return step


def pictures(count: int, first: int = 0) -> Iterator[bytes]:
    """Soft noise of SIDE pixels as JPEG, about as many bytes as the miniverse's images, all different."""
    rng = np.random.default_rng(0)
    different = []
    for _ in range(64):
        small = Image.fromarray(rng.integers(0, 256, size=(8, 8, 3), dtype=np.uint8))
        buffer = io.BytesIO()
        small.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=85)
        different.append(buffer.getvalue())
    # What follows the end of a JPEG is not looked at: the same picture, other bytes.
    for number, picture in zip(range(first, first + count), cycle(different), strict=False):
        yield picture + number.to_bytes(8, "big")


def source_file(folder: Path, images: int, classes: int) -> ParquetFile:
    """A file to ingest, written below `folder`."""
    table = pa.table(
        {
            "key": [f"image-{number}" for number in range(images)],
            "image": list(pictures(images)),
            "caption": [f"a picture of thing {number % 1000}" for number in range(images)],
            "class_id": pa.array(np.arange(images) % classes, pa.int32()),
        }
    )
    path = folder / f"source-{images}.parquet"
    pq.write_table(table, path)
    return ParquetFile(location=f"library:{path.name}", digest=sha256(path.read_bytes()), images=images)


class SizedWorld:
    """Writes the inputs; each method those of one kind of worker."""

    def __init__(self, artifacts: Artifacts, sizes: Sizes, target: Target) -> None:
        self.artifacts, self.sizes, self.classes = artifacts, sizes, len(target.classes)
        self.images = 0

    def retrieval(self) -> None:
        for shard in range(self.sizes.shards):
            self._embedded(f"upstream {shard}", self.sizes.shard, captions=True)
        self._embedded("candidates", self.sizes.pool)
        self._embedded("more candidates", self.sizes.pool)
        self._embedded("test", self.sizes.splits["test"])

    def trainer(self) -> None:
        for name, count in self.sizes.splits.items():
            finish(self.artifacts, step_of(name), ImagesIngested(images=self._image_set(count)))
        self.pool()

    def generator(self) -> None:
        self.pool()

    def judge(self) -> None:
        rng = np.random.default_rng(0)
        finish(self.artifacts, step_of("test"), ImagesIngested(images=self._image_set(self.sizes.splits["test"])))
        labels = np.arange(self.sizes.splits["test"], dtype=np.int32) % self.classes
        for cell in cells():
            finish(self.artifacts, step_of(cell), self._evaluated(labels, rng))
        self.pool()

    def pool(self) -> None:
        images, count = self._image_set(self.sizes.pool), self.sizes.pool
        counts = CurationCounts(
            requested=count, obtained=count, leaked=0, near_duplicate=0, filtered=0, over_cap=0, kept=count
        )
        kept = np.bincount(np.arange(count) % self.classes, minlength=self.classes)
        finish(
            self.artifacts,
            step_of("pool"),
            ImagesCurated(images=images, counts=counts, kept_by_class=tuple(kept.tolist())),
        )

    def _embedded(self, name: str, count: int, *, captions: bool = False) -> None:
        vectors = np.random.default_rng([count, self.images]).standard_normal((2, count, DIMENSION))
        vectors = (vectors / np.linalg.norm(vectors, axis=2, keepdims=True)).astype(np.float16)
        finish(self.artifacts, step_of(name), ImagesIngested(images=self._image_set(count)))
        result = ImagesEmbedded(
            count=count,
            dimension=DIMENSION,
            image_embeddings=self.artifacts.put_array(vectors[0]),
            caption_embeddings=self.artifacts.put_array(vectors[1]) if captions else None,
        )
        finish(self.artifacts, embedded_step_of(name), result)

    def _image_set(self, count: int) -> ImageSet:
        writer = ImageSetWriter(self.artifacts)
        for number, picture in enumerate(pictures(count, self.images)):
            writer.add(
                picture,
                ImageRecord(
                    width=SIDE,
                    height=SIDE,
                    source_kind="upstream",
                    source_key=f"image-{number}",
                    class_id=number % self.classes,
                    caption=f"a picture of thing {number % 1000}",
                    score=0.3,
                ),
            )
        self.images += count
        return writer.finish()

    def _evaluated(self, labels: np.ndarray, rng: np.random.Generator) -> EncoderEvaluated:
        def predicted() -> Predictions:
            right = rng.random(len(labels)) < 0.6
            classes = np.where(right, labels, (labels + 1) % self.classes).astype(np.int32)
            return Predictions(classes=self.artifacts.put_array(classes), accuracy=float(right.mean()))

        return EncoderEvaluated(
            predictions={metric: predicted() for metric in METRICS},
            labels=self.artifacts.put_array(labels),
            learning_rate=1e-4,
            peak_lr_fraction=1.0,
            updates=100,
            best_epoch=1,
            validation_accuracy=0.5,
        )


def cells() -> list[str]:
    """The names of evaluations: `arm size seed`; of the untouched encoder size 0."""
    trained = [f"{arm} {size} {seed}" for arm in ARMS for size in JUDGED_SIZES for seed in SEEDS]
    return trained + [f"none 0 {seed}" for seed in SEEDS]
