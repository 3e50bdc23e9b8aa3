"""What the trainer's handlers work with: the object store and what is kept in memory between steps."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from touchstone_contracts.catalogue import ClassLabel
from touchstone_contracts.steps import INGEST_IMAGES, ModelRef
from touchstone_contracts.values import StepId
from touchstone_encoders.embedding import class_vectors
from touchstone_encoders.loading import EncoderCache, LoadedEncoder, LoadedTower, pick_device
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.caches import CacheUse
from touchstone_runtime.library import Library

from touchstone_trainer.classifier import ImageClassifier, untaught_classifier, zero_shot_classifier
from touchstone_trainer.memory import ByteCache
from touchstone_trainer.pixels import (
    DecodedImages,
    EvaluationImages,
    decoded_images,
    load_evaluation_images,
    require_classes,
)
from touchstone_trainer.processes import ALONE, Processes
from touchstone_trainer.settings import TrainerSettings

MEGABYTE = 2**20
TEXT_BUDGET = 256 * MEGABYTE

TextKey = tuple[ModelRef, tuple[ClassLabel, ...], tuple[str, ...]]


@dataclass(frozen=True)
class Tools:
    artifacts: Artifacts
    encoders: EncoderCache
    decoded: DecodedImages
    decoded_budget: int
    """Bytes; a larger training set stays encoded."""
    splits: ByteCache[tuple[StepId, ModelRef], EvaluationImages]
    class_vectors: ByteCache[TextKey, np.ndarray]
    loader_threads: int = 1
    processes: Processes = ALONE
    """Those that carry out one adaptation together."""

    @property
    def caches(self) -> Mapping[str, CacheUse]:
        """By the name that metrics give them."""
        return {
            "encoder": self.encoders.use,
            "decoded_images": self.decoded.use,
            "splits": self.splits.use,
            "class_vectors": self.class_vectors.use,
        }

    def tower(self, ref: ModelRef) -> LoadedTower:
        return self.encoders.tower(ref)

    def encoder(self, ref: ModelRef) -> LoadedEncoder:
        """Raises NoTextTower."""
        return self.encoders.get(ref)

    def classifier(self, ref: ModelRef, classes: tuple[ClassLabel, ...], templates: tuple[str, ...]) -> ImageClassifier:
        """A fresh copy of the untouched encoder with its zero-shot head (paper section 4.3), if it has a text tower."""
        if ref.kind != "clip":
            return untaught_classifier(self.tower(ref), len(classes))
        vectors = self.class_vectors.get((ref, classes, templates))
        if vectors is None:
            vectors = class_vectors(self.encoder(ref), classes, templates, normalize_each=True)
            self.class_vectors.put((ref, classes, templates), vectors)
        return zero_shot_classifier(self.encoder(ref), vectors)

    def split(self, step: StepId, ref: ModelRef, classes: int) -> EvaluationImages:
        """An ingested split as the encoder sees it. Raises Invalid when it is empty or a label is no class."""
        images = self.splits.get((step, ref))
        if images is None:
            ingested = self.artifacts.result(INGEST_IMAGES, step)
            images = load_evaluation_images(self.artifacts, ingested.images, self.tower(ref))
            self.splits.put((step, ref), images)
        require_classes(images.class_ids, classes, "a split of the target")
        return images


def build_tools(settings: TrainerSettings, artifacts: Artifacts) -> Tools:
    budget = settings.decoded_megabytes * MEGABYTE
    return Tools(
        artifacts=artifacts,
        encoders=EncoderCache(Library(settings.library), pick_device(settings.device)),
        decoded=decoded_images(budget),
        decoded_budget=budget,
        splits=ByteCache(settings.evaluation_megabytes * MEGABYTE, lambda images: images.pixels.nbytes),
        class_vectors=ByteCache(TEXT_BUDGET, lambda vectors: vectors.nbytes),
        loader_threads=settings.loader_threads,
    )
