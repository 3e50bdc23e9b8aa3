"""Results of finished steps, remembered: a step's result never changes, but for images that are taken down."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from touchstone_contracts.catalogue import Cluster, ClusterOfKey
from touchstone_contracts.label_card import LabelCard
from touchstone_contracts.messages import Environment
from touchstone_contracts.problems import Invalid
from touchstone_contracts.source_probe import SourceProbe
from touchstone_contracts.steps import (
    ADAPT_ENCODER,
    AUDIT_POOL,
    CATALOGUE,
    CHECK_TARGET,
    COMPARE_SPLITS,
    CURATE_IMAGES,
    DOWNLOAD_IMAGES,
    EMBED_IMAGES,
    EVALUATE_ENCODER,
    INGEST_IMAGES,
    PROBE_SOURCES,
    EncoderAdapted,
    EncoderEvaluated,
    ImagesCurated,
    ImagesDownloaded,
    ImagesEmbedded,
    ImagesIngested,
    SplitsCompared,
    TargetChecked,
)
from touchstone_contracts.values import Blob, StepId
from touchstone_contracts.views import Cost

from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.caches import ByteCache
from touchstone_runtime.objects import MissingObject

if TYPE_CHECKING:
    import pyarrow as pa

ResultT = TypeVar("ResultT")

REMEMBERED_STEPS = 20_000
REMEMBERED_MANIFESTS = 128 * 2**20
"""Bytes of the manifests of curated pools and of test and validation splits."""
REMEMBERED_ACCOUNTS = 32 * 2**20
"""Characters of the names in the accounts of ingests."""
READERS = 8


class Made(NamedTuple):
    """How a step was computed."""

    cost: Cost
    environment: Environment | None
    """None of steps of earlier releases."""


class FinishedSteps:
    """Each method raises MissingObject while the step has no result; only found results are remembered."""

    def __init__(self, artifacts: Artifacts) -> None:
        self.artifacts = artifacts
        self.adapted = lru_cache(REMEMBERED_STEPS)(self._adapted)
        self.evaluated = lru_cache(REMEMBERED_STEPS)(self._evaluated)
        self.made = lru_cache(REMEMBERED_STEPS)(self._made)
        self._environments = dict[str, Environment]()
        self.curated = lru_cache(REMEMBERED_STEPS)(self._curated)
        self.audited = lru_cache(REMEMBERED_STEPS)(self._audited)
        self.probed = lru_cache(REMEMBERED_STEPS)(self._probed)
        self.downloaded = lru_cache(REMEMBERED_STEPS)(self._downloaded)
        self.test_images = lru_cache(REMEMBERED_STEPS)(self._test_images)
        self.notes = lru_cache(REMEMBERED_STEPS)(self._notes)
        self._ingests = ByteCache[StepId, ImagesIngested](REMEMBERED_ACCOUNTS, _account_size)
        self._embeddings = ByteCache[StepId, ImagesEmbedded](REMEMBERED_ACCOUNTS, _noted_size)
        self._manifests = ByteCache[Blob, "pa.Table"](REMEMBERED_MANIFESTS, lambda manifest: manifest.nbytes)

    def _adapted(self, step: StepId) -> EncoderAdapted:
        return self.artifacts.result(ADAPT_ENCODER, step)

    def _evaluated(self, step: StepId) -> EncoderEvaluated:
        return self.artifacts.result(EVALUATE_ENCODER, step)

    def forget_images(self) -> None:
        """Of what was remembered: results that are computed again when an image is taken down."""
        for remembered in (self.curated, self.audited, self.downloaded):
            remembered.cache_clear()
        self._ingests.clear()
        self._embeddings.clear()

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

    def ingested(self, step: StepId) -> ImagesIngested:
        return self._ingests.get_or_make(step, lambda: self.artifacts.result(INGEST_IMAGES, step))

    def embedded(self, step: StepId) -> ImagesEmbedded:
        """Of images or of a table of links."""
        return self._embeddings.get_or_make(step, lambda: self.artifacts.result(EMBED_IMAGES, step))

    def _notes(self, kind: str, step: StepId) -> dict[str, int]:
        """Of a step of a kind whose result has notes."""
        found: dict[str, int] = self.artifacts.result(CATALOGUE[kind], step).notes
        return found

    def split_texts(self, step: StepId, column: str) -> list[str]:
        """One column of an ingested split's manifest, in the order of predictions."""
        from touchstone_runtime.image_sets import with_all_columns

        manifest = self.artifacts.get_table(self.artifacts.result(INGEST_IMAGES, step).images.manifest)
        texts: list[str] = with_all_columns(manifest)[column].to_pylist()
        return texts

    def split(self, step: StepId) -> "pa.Table":
        """The columns `id` and `class_id` of an ingested split, without images that were taken down."""
        return self._kept(self.artifacts.result(INGEST_IMAGES, step).images.manifest)

    def kept(self, step: StepId) -> "pa.Table":
        """Those of a curated pool, without what curation dropped."""
        return self._kept(self.curated(step).images.manifest)

    def _kept(self, manifest: Blob) -> "pa.Table":
        from touchstone_runtime.image_sets import with_all_columns

        rows = with_all_columns(self.artifacts.get_table(manifest)).select(["id", "class_id", "kept"])
        return rows.filter(rows["kept"]).drop_columns("kept")

    def checked(self, step: StepId) -> TargetChecked:
        return self.artifacts.result(CHECK_TARGET, step)

    def compared(self, step: StepId) -> SplitsCompared:
        return self.artifacts.result(COMPARE_SPLITS, step)

    def pool(self, step: StepId) -> "pa.Table":
        """The manifest of every candidate image of a curated pool, with all columns."""
        return self._manifest(self.curated(step).images.manifest)

    def held_out(self, step: StepId) -> "pa.Table":
        """The manifest of an ingested test or validation split, with all columns."""
        return self._manifest(self.ingested(step).images.manifest)

    def _manifest(self, manifest: Blob) -> "pa.Table":
        return self._manifests.get_or_make(manifest, lambda: self._read_manifest(manifest))

    def _read_manifest(self, manifest: Blob) -> "pa.Table":
        # pyarrow comes with the first table.
        from touchstone_runtime.image_sets import with_all_columns

        return with_all_columns(self.artifacts.get_table(manifest))

    def _made(self, step: StepId) -> Made:
        manifest = self.artifacts.manifest(step)
        if manifest is None:
            raise MissingObject(f"step {step} has no result")
        cost = Cost(cpu_seconds=manifest.cpu_seconds, gpu_seconds=manifest.gpu_seconds)
        found = manifest.environment
        # A few workers made thousands of steps: each environment is held once.
        known = None if found is None else self._environments.setdefault(found.model_dump_json(), found)
        return Made(cost, known)

    def downloads(self, steps: Iterable[StepId]) -> dict[StepId, ImagesDownloaded]:
        """Those of `steps` that have a result."""
        return read_finished(self.downloaded, steps)

    def costs(self, steps: Iterable[StepId]) -> dict[StepId, Cost]:
        """What each of `steps` cost when it was computed, whichever experiment that was for."""
        return {step: made.cost for step, made in read_all(self.made, steps).items()}

    def arrays(self, blobs: Iterable[Blob]) -> list[npt.NDArray[np.int32]]:
        with ThreadPoolExecutor(READERS) as readers:
            return list(readers.map(self.artifacts.get_array, blobs))


def _account_size(result: ImagesIngested) -> int:
    lost = (*result.account.refused.values(), *result.account.notes.values()) if result.account else ()
    return 1024 + sum(len(name) for named in lost for name in named.names)


def _noted_size(result: ImagesEmbedded) -> int:
    return 1024 + sum(len(name) for named in result.unusable.values() for name in named.names)


def cluster_names(cluster: Cluster, split: StepId, steps: FinishedSteps) -> list[str]:
    """Of an ingested split's images, in the order of predictions: what those drawn together have in common."""
    if isinstance(cluster, ClusterOfKey):
        return without_matches(cluster.remove, steps.split_texts(split, "source_key"))
    return steps.split_texts(split, "cluster")


def without_matches(pattern: str, keys: list[str]) -> list[str]:
    """By RE2, in linear time whatever the pattern is. Raises Invalid."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        left: list[str] = pc.replace_substring_regex(pa.array(keys, pa.string()), pattern, "").to_pylist()
    except pa.ArrowInvalid as error:
        detail = f"the target's clusters are named by a pattern that RE2 does not take, register another: {error}"
        raise Invalid(detail, code="bad_pattern") from error
    return left


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
