"""Content-addressed artifacts over an object store: blobs, arrays, tables and step manifests."""

import io
import json
import random
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError
from touchstone_contracts.identity import sha256
from touchstone_contracts.image_sets import ImageSet
from touchstone_contracts.keys import blob_key, manifest_key
from touchstone_contracts.messages import StepManifest
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import Contract
from touchstone_contracts.values import Blob, Digest, Lenient, StepId

from touchstone_runtime.objects import MissingObject, ObjectStore
from touchstone_runtime.phases import phase

if TYPE_CHECKING:
    import pyarrow as pa

ResultT = TypeVar("ResultT", bound=Lenient)

REMEMBERED_FACTS = 256


class CorruptObject(MissingObject):
    """The bytes do not match the digest they are stored under."""

    code = "corrupt_object"
    title = "Corrupt object"


class Artifacts:
    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._facts = lru_cache(REMEMBERED_FACTS)(self._read_fact)

    @phase("store")
    def put_blob(self, data: bytes) -> Blob:
        digest = sha256(data)
        self._objects.put(blob_key(digest), data)
        return Blob(digest=digest, size=len(data))

    @phase("load")
    def get_blob(self, blob: Blob) -> bytes:
        """Raises MissingObject, or CorruptObject when the digest disagrees."""
        data = self._objects.get(blob_key(blob.digest))
        if sha256(data) != blob.digest:
            raise CorruptObject(f"blob {blob.digest} has other bytes than its name says")
        return data

    @phase("load")
    def get_range(self, digest: str, offset: int, length: int) -> bytes:
        return self._objects.get_range(blob_key(digest), offset, length)

    @phase("store")
    def put_facts(self, facts: Mapping[Digest, bytes]) -> None:
        """Writes those that are not there."""
        for digest, data in facts.items():
            if self._objects.size(blob_key(digest)) != len(data):
                self._objects.put(blob_key(digest), data)

    def missing_facts(self, digests: Iterable[Digest]) -> list[Digest]:
        """Those that the object store does not have."""
        return [digest for digest in digests if self._objects.size(blob_key(digest)) is None]

    def fact(self, digest: Digest) -> Any:
        """The JSON value of a fact (contracts.facts), remembered. Raises MissingObject or CorruptObject."""
        return self._facts(digest)

    @phase("load")
    def _read_fact(self, digest: Digest) -> Any:
        data = self._objects.get(blob_key(digest))
        if sha256(data) != digest:
            raise CorruptObject(f"fact {digest} has other bytes than its name says")
        return json.loads(data)

    @phase("store")
    def put_array(self, array: np.ndarray) -> Blob:
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        return self.put_blob(buffer.getvalue())

    @phase("load")
    def get_array(self, blob: Blob) -> np.ndarray:
        array: np.ndarray = np.load(io.BytesIO(self.get_blob(blob)), allow_pickle=False)
        return array

    # pyarrow is imported where tables are met: the conductor and most requests of the api never see one.
    @phase("store")
    def put_table(self, table: "pa.Table") -> Blob:
        import pyarrow.parquet as pq

        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        return self.put_blob(buffer.getvalue())

    @phase("load")
    def get_table(self, blob: Blob) -> "pa.Table":
        import pyarrow.parquet as pq

        return pq.read_table(io.BytesIO(self.get_blob(blob)))

    @phase("store")
    def write_manifest(self, manifest: StepManifest) -> None:
        self._objects.put(manifest_key(manifest.step_id), manifest.model_dump_json().encode())

    @phase("load")
    def manifest(self, step: StepId) -> StepManifest | None:
        """None when the step has not finished, or its manifest is unreadable."""
        try:
            return StepManifest.model_validate_json(self._objects.get(manifest_key(step)))
        except (MissingObject, ValidationError):
            return None

    def result(self, contract: Contract[Any, ResultT], step: StepId) -> ResultT:
        """The result of a finished step. Raises MissingObject."""
        manifest = self.manifest(step)
        if manifest is None:
            raise MissingObject(f"{contract.name} step {step} has no result yet")
        return contract.result.model_validate(manifest.result)

    def image_set(self, step: StepId) -> tuple[ImageSet, int]:
        """The image set any image-making step wrote, and how many images it was asked for.

        Raises MissingObject when the step has no result, Invalid when it is no such step."""
        manifest = self.manifest(step)
        if manifest is None:
            raise MissingObject(f"step {step} has no result yet")
        if "images" not in manifest.result:
            raise Invalid(f"{manifest.kind} step {step} makes no images", code="not_an_image_set")
        images = ImageSet.model_validate(manifest.result["images"])
        return images, int(manifest.result.get("requested", images.count))

    def verified(self, step: StepId, *, sample: int = 1) -> StepManifest | None:
        """The manifest, if every blob it names exists in its size and `sample` of them have the right digest."""
        manifest = self.manifest(step)
        if manifest is None or not all(self._objects.size(blob_key(b.digest)) == b.size for b in manifest.blobs):
            return None
        # Which blobs are sampled follows from the step, so that a verdict about one step repeats.
        chosen = random.Random(step).sample(manifest.blobs, min(sample, len(manifest.blobs)))
        try:
            for blob in chosen:
                self.get_blob(blob)
        except MissingObject:
            return None
        return manifest


def blobs_in(value: object) -> Iterator[Blob]:
    """Every Blob inside a result, each digest once, in order of appearance."""
    yield from {blob.digest: blob for blob in _walk(value)}.values()


def _walk(value: object) -> Iterator[Blob]:
    if isinstance(value, Blob):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _walk(getattr(value, name))
    elif isinstance(value, dict):
        yield from _walk_all(value.values())
    elif isinstance(value, list | tuple):
        yield from _walk_all(value)


def _walk_all(values: Iterable[object]) -> Iterator[Blob]:
    for value in values:
        yield from _walk(value)
