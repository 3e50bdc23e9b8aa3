"""Results of finished steps, remembered: a step's result never changes."""

import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt
from touchstone_contracts.catalogue import Cluster, ClusterOfKey
from touchstone_contracts.label_card import LabelCard
from touchstone_contracts.source_probe import SourceProbe
from touchstone_contracts.steps import (
    ADAPT_ENCODER,
    AUDIT_POOL,
    CURATE_IMAGES,
    DOWNLOAD_IMAGES,
    EVALUATE_ENCODER,
    INGEST_IMAGES,
    PROBE_SOURCES,
    EncoderAdapted,
    EncoderEvaluated,
    ImagesCurated,
    ImagesDownloaded,
)
from touchstone_contracts.values import Blob, StepId
from touchstone_contracts.views import Cost

from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.objects import MissingObject

if TYPE_CHECKING:
    import pyarrow as pa

ResultT = TypeVar("ResultT")

REMEMBERED_STEPS = 20_000
REMEMBERED_TABLES = 8
"""Manifests of curated pools: up to some ten thousand rows each."""
READERS = 8

IMAGE_COLUMNS = (
    "id",
    "class_id",
    "caption",
    "shard",
    "offset",
    "length",
    "score",
    "kept",
    "drop_reason",
    "nearest_test_id",
    "nearest_test_cosine",
    "found_by",
    "query",
    "part",
)


class FinishedSteps:
    """Each method raises MissingObject while the step has no result; only found results are remembered."""

    def __init__(self, artifacts: Artifacts) -> None:
        self.artifacts = artifacts
        self.adapted = lru_cache(REMEMBERED_STEPS)(self._adapted)
        self.evaluated = lru_cache(REMEMBERED_STEPS)(self._evaluated)
        self.cost = lru_cache(REMEMBERED_STEPS)(self._cost)
        self.curated = lru_cache(REMEMBERED_STEPS)(self._curated)
        self.audited = lru_cache(REMEMBERED_STEPS)(self._audited)
        self.probed = lru_cache(REMEMBERED_STEPS)(self._probed)
        self.downloaded = lru_cache(REMEMBERED_STEPS)(self._downloaded)
        self.test_images = lru_cache(REMEMBERED_STEPS)(self._test_images)
        self.pool = lru_cache(REMEMBERED_TABLES)(self._pool)

    def _adapted(self, step: StepId) -> EncoderAdapted:
        return self.artifacts.result(ADAPT_ENCODER, step)

    def _evaluated(self, step: StepId) -> EncoderEvaluated:
        return self.artifacts.result(EVALUATE_ENCODER, step)

    def _curated(self, step: StepId) -> ImagesCurated:
        return self.artifacts.result(CURATE_IMAGES, step)

    def _audited(self, step: StepId) -> LabelCard:
        return self.artifacts.result(AUDIT_POOL, step).card

    def _probed(self, step: StepId) -> SourceProbe | None:
        return self.artifacts.result(PROBE_SOURCES, step).probe

    def _downloaded(self, step: StepId) -> ImagesDownloaded:
        return self.artifacts.result(DOWNLOAD_IMAGES, step)

    def _test_images(self, step: StepId) -> int:
        return self.artifacts.result(INGEST_IMAGES, step).images.count

    def split_texts(self, step: StepId, column: str) -> list[str]:
        """One column of an ingested split's manifest, in the order of predictions."""
        from touchstone_runtime.image_sets import with_all_columns

        manifest = self.artifacts.get_table(self.artifacts.result(INGEST_IMAGES, step).images.manifest)
        texts: list[str] = with_all_columns(manifest)[column].to_pylist()
        return texts

    def _pool(self, step: StepId) -> "pa.Table":
        """The manifest of every candidate image, the columns of IMAGE_COLUMNS."""
        # pyarrow comes with the first table.
        from touchstone_runtime.image_sets import with_all_columns

        return with_all_columns(self.artifacts.get_table(self.curated(step).images.manifest)).select(IMAGE_COLUMNS)

    def _cost(self, step: StepId) -> Cost:
        manifest = self.artifacts.manifest(step)
        if manifest is None:
            raise MissingObject(f"step {step} has no result")
        return Cost(cpu_seconds=manifest.cpu_seconds, gpu_seconds=manifest.gpu_seconds)

    def evaluations(self, steps: Iterable[StepId]) -> dict[StepId, EncoderEvaluated]:
        """Those of `steps` that have a result."""
        return read_finished(self.evaluated, steps)

    def downloads(self, steps: Iterable[StepId]) -> dict[StepId, ImagesDownloaded]:
        """Those of `steps` that have a result."""
        return read_finished(self.downloaded, steps)

    def costs(self, steps: Iterable[StepId]) -> dict[StepId, Cost]:
        """What each of `steps` cost when it was computed, whichever experiment that was for."""
        return read_all(self.cost, steps)

    def arrays(self, blobs: Iterable[Blob]) -> list[npt.NDArray[np.int32]]:
        with ThreadPoolExecutor(READERS) as readers:
            return list(readers.map(self.artifacts.get_array, blobs))


def cluster_names(cluster: Cluster, split: StepId, steps: FinishedSteps) -> list[str]:
    """Of an ingested split's images, in the order of predictions: what those drawn together have in common."""
    if isinstance(cluster, ClusterOfKey):
        return [re.sub(cluster.remove, "", key) for key in steps.split_texts(split, "source_key")]
    return steps.split_texts(split, "cluster")


def read_all(read: Callable[[StepId], ResultT], steps: Iterable[StepId]) -> dict[StepId, ResultT]:
    """What `read` gives for each of `steps`, many at once. Raises MissingObject if one of them has no result."""
    wanted = list(dict.fromkeys(steps))
    with ThreadPoolExecutor(READERS) as readers:
        return dict(zip(wanted, readers.map(read, wanted), strict=True))


def read_finished(read: Callable[[StepId], ResultT], steps: Iterable[StepId]) -> dict[StepId, ResultT]:
    """What `read` gives for each of `steps` that has a result."""

    def read_or_none(step: StepId) -> ResultT | None:
        try:
            return read(step)
        except MissingObject:
            return None

    return {step: result for step, result in read_all(read_or_none, steps).items() if result is not None}
