"""Content-addressed artifacts over an object store: blobs, arrays, tables and step manifests.

Whatever is read is compared with the digest that names it. What has other bytes twice in a row is removed: then it is
missing for whoever looks for it, and whoever makes it again writes it."""

import io
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from pydantic import BaseModel
from touchstone_contracts.identity import canonical_json, sha256
from touchstone_contracts.image_sets import ImageSet
from touchstone_contracts.keys import TAKEDOWNS, blob_key, manifest_key, savepoint_key, takedown_key
from touchstone_contracts.messages import StepManifest
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import Contract
from touchstone_contracts.takedowns import Takedown, TakenDown
from touchstone_contracts.values import Blob, Digest, Lenient, StepId

from touchstone_runtime.caches import ByteCache
from touchstone_runtime.derived import DerivedParts
from touchstone_runtime.logs import get_logger
from touchstone_runtime.objects import MissingObject, ObjectStore, StoredObject
from touchstone_runtime.phases import phase
from touchstone_runtime.savepoints import SHOWN, StepSavepoints
from touchstone_runtime.sealing import read_sealed
from touchstone_runtime.uploads import Uploads

if TYPE_CHECKING:
    import pyarrow as pa

log = get_logger(__name__)

ResultT = TypeVar("ResultT", bound=Lenient)

REMEMBERED_FACTS = 32 * 2**20
"""Bytes of the facts that are remembered, as they are stored."""
READINGS = 2
"""Of bytes that are not what they are named, before they are given up: one reading may have been spoilt on its way."""
CHECKSUM = "checksum"
"""The key of a stored manifest that holds the digest of everything else in it."""
ONE_HEADER_AT_A_TIME = threading.Lock()
"""NumPy reads the header of an array as Python's syntax, and CPython 3.11 has been seen to fail at that while several
threads did it ("AST constructor recursion depth mismatch")."""


def read_array(data: bytes) -> np.ndarray:
    """What `numpy.save` wrote."""
    with ONE_HEADER_AT_A_TIME:
        array: np.ndarray = np.load(io.BytesIO(data), allow_pickle=False)
    return array


class CorruptObject(MissingObject):
    """The bytes did not match the digest they were stored under, and have been removed."""

    code = "corrupt_object"
    title = "Corrupt object"


class Artifacts:
    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._facts = ByteCache[Digest, _ReadFact](REMEMBERED_FACTS, lambda fact: fact.size)
        self._takedowns: dict[StoredObject, Takedown] = {}
        """As last read: there may be thousands, and each is written about once."""

    @phase("store")
    def put_blob(self, data: bytes) -> Blob:
        digest = sha256(data)
        self._objects.put(blob_key(digest), data)
        return Blob(digest=digest, size=len(data))

    @phase("load")
    def get_blob(self, blob: Blob) -> bytes:
        """Raises MissingObject, or CorruptObject when the digest disagrees."""
        key = blob_key(blob.digest)
        return self._as_named(lambda: self._objects.get(key), blob.digest, key)

    @phase("load")
    def get_image(self, image: Digest, shard: Digest, offset: int, length: int) -> bytes:
        """One image out of a shard. Raises MissingObject, or CorruptObject when other bytes lie there."""
        key = blob_key(shard)
        return self._as_named(lambda: self._objects.get_range(key, offset, length), image, key)

    def _as_named(self, read: Callable[[], bytes], digest: Digest, key: str) -> bytes:
        for _ in range(READINGS):
            data = read()
            if sha256(data) == digest:
                return data
        self._objects.remove(key)
        log.error("object.corrupt", key=key, wanted=digest)
        raise CorruptObject(
            f"object {key} had other bytes than its name says; it was removed, to be made again", key=key
        )

    @phase("store")
    def put_facts(self, facts: Mapping[Digest, bytes]) -> None:
        """Writes those that are not there."""
        for digest, data in facts.items():
            self._objects.put(blob_key(digest), data)

    def missing_facts(self, digests: Iterable[Digest]) -> list[Digest]:
        """Those that the object store does not have."""
        return [digest for digest in digests if self._objects.size(blob_key(digest)) is None]

    def fact(self, digest: Digest) -> Any:
        """The JSON value of a fact (contracts.facts), remembered. Raises MissingObject or CorruptObject."""
        return self._facts.get_or_make(digest, lambda: self._read_fact(digest)).value

    @phase("load")
    def _read_fact(self, digest: Digest) -> "_ReadFact":
        key = blob_key(digest)
        data = self._as_named(lambda: self._objects.get(key), digest, key)
        return _ReadFact(json.loads(data), len(data))

    @phase("store")
    def put_array(self, array: np.ndarray) -> Blob:
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        return self.put_blob(buffer.getvalue())

    @phase("load")
    def get_array(self, blob: Blob) -> np.ndarray:
        return read_array(self.get_blob(blob))

    # pyarrow is imported where tables are met: the conductor and most requests of the api never see one.
    @phase("store")
    def put_table(self, table: "pa.Table") -> Blob:
        import pyarrow.parquet as pq

        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        return self.put_blob(buffer.getvalue())

    @phase("load")
    def get_table(self, blob: Blob, columns: Sequence[str] | None = None) -> "pa.Table":
        """`columns`: those that are needed, of which a table from before there was one has fewer. None: all."""
        import pyarrow.parquet as pq

        data = io.BytesIO(self.get_blob(blob))
        return pq.read_table(data) if columns is None else pq.ParquetFile(data).read(columns=list(columns))

    @phase("store")
    def write_manifest(self, manifest: StepManifest) -> None:
        content = json.loads(manifest.model_dump_json())
        document = content | {CHECKSUM: sha256(canonical_json(content))}
        self._objects.put(manifest_key(manifest.step_id), json.dumps(document).encode())

    @phase("load")
    def manifest(self, step: StepId) -> StepManifest | None:
        """None when the step has not finished, or its manifest is damaged or another step's."""
        try:
            manifest = _read_manifest(self._objects.get(manifest_key(step)))
        except (MissingObject, ValueError):  # of pydantic, of JSON and of Unicode: all are ValueErrors
            return None
        return manifest if manifest.step_id == step else None

    def let_go(self, step: StepId) -> None:
        """The result of a finished step is whole without its blobs from now on; they stay until they are removed."""
        manifest = self.manifest(step)
        if manifest is not None:
            gone = (*manifest.let_go, *manifest.blobs)
            self.write_manifest(manifest.model_copy(update={"blobs": (), "let_go": gone}))

    def forget(self, step: StepId) -> None:
        """The step has no result any more; its blobs stay until they are collected."""
        self._objects.remove(manifest_key(step))

    def result(self, contract: Contract[Any, ResultT], step: StepId) -> ResultT:
        """The result of a finished step. Raises MissingObject."""
        manifest = self.manifest(step)
        if manifest is None:
            raise MissingObject(f"{contract.name} step {step} has no result yet")
        return contract.result.model_validate(manifest.result)

    def takedowns(self) -> list[Takedown]:
        """In the order of their ids. Raises Transient."""
        there = list(self._objects.listed(TAKEDOWNS))
        known = self._takedowns
        self._takedowns = {
            stored: known.get(stored) or Takedown.model_validate_json(self._objects.get(stored.key)) for stored in there
        }
        return list(self._takedowns.values())

    def record_takedown(self, takedown: Takedown) -> Takedown:
        """What stands then: a request that was made before keeps its reason and time."""
        try:
            known = Takedown.model_validate_json(self._objects.get(takedown_key(takedown.id)))
        except MissingObject:
            known = takedown
        recorded = known.with_images(takedown.images)
        self._objects.put(takedown_key(recorded.id), recorded.model_dump_json().encode())
        return recorded

    def taken_down(self) -> TakenDown:
        """What no step may use, now. Raises Transient."""
        return TakenDown.of(self.takedowns())

    def savepoints(self, step: StepId, every_seconds: float, *, resumes: bool) -> StepSavepoints:
        """`resumes`: whether an earlier attempt may have left something."""
        return StepSavepoints(self._objects, step, every_seconds, resumes=resumes)

    def shown(self, step: StepId) -> bytes | None:
        """How a step that a worker is at is getting on, as JSON; None where it has not told. Raises Transient."""
        return read_sealed(self._objects, savepoint_key(step, SHOWN))

    def derived(self, name: Digest) -> DerivedParts:
        """What may be kept of something that `name` says all of that it follows from."""
        return DerivedParts(self._objects, name)

    @property
    def uploads(self) -> Uploads:
        return Uploads(self._objects)

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

    def present(self, step: StepId) -> StepManifest | None:
        """The manifest, if every blob it names exists in its size, save what was let go; no blob is read."""
        manifest = self.manifest(step)
        if manifest is None or not all(self._objects.size(blob_key(b.digest)) == b.size for b in manifest.blobs):
            return None
        return manifest

    def verified(self, step: StepId) -> StepManifest | None:
        """The manifest, if every blob it names has the right digest, save what was let go."""
        manifest = self.present(step)
        try:
            for blob in () if manifest is None else manifest.blobs:
                self.get_blob(blob)
        except MissingObject:
            return None
        return manifest


class _ReadFact(NamedTuple):
    value: Any
    size: int
    """Bytes as it is stored."""


def _read_manifest(data: bytes) -> StepManifest:
    """Raises ValueError. Manifests written before they had a checksum are taken as they are."""
    content = json.loads(data)
    if isinstance(content, dict):
        checksum = content.pop(CHECKSUM, None)
        if checksum is not None and checksum != sha256(canonical_json(content)):
            raise ValueError("the manifest has other content than its checksum says")
    return StepManifest.model_validate(content)


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
