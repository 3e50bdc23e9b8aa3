"""What the trainer's handlers work with: the object store and what is kept in memory between steps."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from touchstone_contracts.catalogue import ClassLabel
from touchstone_contracts.steps import INGEST_IMAGES, ModelRef
from touchstone_contracts.values import Digest, StepId
from touchstone_encoders.embedding import class_vectors
from touchstone_encoders.loading import EncoderCache, LoadedEncoder, LoadedTower, pick_device
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.caches import ByteCache, CacheUse
from touchstone_runtime.library import Library
from touchstone_runtime.serving import ProgressFunction, no_progress
from touchstone_runtime.settings import MEGABYTE

from touchstone_trainer.classifier import ImageClassifier, untaught_classifier, zero_shot_classifier
from touchstone_trainer.evaluation.zero_shot import embed_split
from touchstone_trainer.features import EmbeddedSplit, FrozenFeatures, features_name
from touchstone_trainer.pixels import (
    DecodedImages,
    EvaluationImages,
    Split,
    decoded_images,
    load_evaluation_images,
    require_classes,
)
from touchstone_trainer.prefetch import IN_ONE_THREAD, Loader
from touchstone_trainer.processes import ALONE, Processes
from touchstone_trainer.settings import TrainerSettings

TEXT_BUDGET = 256 * MEGABYTE

TextKey = tuple[ModelRef, tuple[ClassLabel, ...], tuple[str, ...]]


@dataclass(frozen=True)
class Tools:
    artifacts: Artifacts
    encoders: EncoderCache
    decoded: DecodedImages
    splits: ByteCache[tuple[Digest, ModelRef], EvaluationImages]
    """By the manifest of the split: it is ingested again when one of its images is taken down."""
    frozen: FrozenFeatures
    class_vectors: ByteCache[TextKey, np.ndarray]
    loader: Loader = IN_ONE_THREAD
    processes: Processes = ALONE
    """Those that carry out one adaptation together."""

    @property
    def caches(self) -> Mapping[str, CacheUse]:
        """By the name that metrics give them."""
        return {
            "encoder": self.encoders.use,
            "decoded_images": self.decoded.use,
            "splits": self.splits.use,
            "frozen_features": self.frozen.use,
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
        vectors = self.class_vectors.get_or_make(
            (ref, classes, templates),
            lambda: class_vectors(self.encoder(ref), classes, templates, normalize_each=True),
        )
        return zero_shot_classifier(self.encoder(ref), vectors)

    def split(self, step: StepId, ref: ModelRef, classes: int) -> Split:
        """An ingested split as the encoder sees it. Raises Invalid when it is empty or a label is no class."""
        ingested = self.artifacts.result(INGEST_IMAGES, step).images
        name = (ingested.manifest.digest, ref)
        images: Split | None = self.splits.get(name)
        if images is None:
            images = load_evaluation_images(self.artifacts, ingested, self.tower(ref), self.loader, self.splits.budget)
            if isinstance(images, EvaluationImages):
                self.splits.put(name, images)
        require_classes(images.class_ids, classes, "a split of the target")
        return images

    def embedded_split(
        self,
        step: StepId,
        ref: ModelRef,
        classes: int,
        classifier: ImageClassifier,
        progress: ProgressFunction = no_progress,
        *,
        frozen: bool,
    ) -> EmbeddedSplit:
        """Its features by `classifier`. `frozen`: whether that has the untouched tower of `ref`, whose features are
        computed only where no worker has done so. Raises Invalid as `split`."""
        if frozen:
            return self._frozen_split(step, ref, classes, classifier, progress)
        split = self.split(step, ref, classes)
        return EmbeddedSplit(embed_split(classifier, split, progress=progress), split.class_ids)

    def _frozen_split(
        self, step: StepId, ref: ModelRef, classes: int, classifier: ImageClassifier, progress: ProgressFunction
    ) -> EmbeddedSplit:
        images = self.artifacts.result(INGEST_IMAGES, step).images
        name = features_name(ref, images.manifest.digest, self.tower(ref).device)
        features = self.frozen.get(name, images.count)
        if features is None:
            found = self.embedded_split(step, ref, classes, classifier, progress, frozen=False)
            self.frozen.put(name, found.features)
            return found
        class_ids = self.artifacts.get_table(images.manifest, ["class_id"])["class_id"].to_numpy()
        require_classes(class_ids, classes, "a split of the target")
        progress(images.count, images.count)
        return EmbeddedSplit(features.to(self.tower(ref).device), class_ids)


def build_tools(settings: TrainerSettings, artifacts: Artifacts) -> Tools:
    library = Library(settings.library, settings.allowed_sources)
    return Tools(
        artifacts=artifacts,
        encoders=EncoderCache(library, pick_device(settings.device), settings.models_bytes),
        decoded=decoded_images(settings.decoded_megabytes * MEGABYTE),
        splits=ByteCache(settings.evaluation_megabytes * MEGABYTE, lambda images: images.pixels.nbytes),
        frozen=FrozenFeatures(artifacts, settings.features_megabytes * MEGABYTE),
        class_vectors=ByteCache(TEXT_BUDGET, lambda vectors: vectors.nbytes),
        loader=Loader(settings.loader_threads, settings.loader_processes),
    )
