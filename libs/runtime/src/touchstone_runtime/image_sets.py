"""Writing and reading image sets: deterministic WebDataset tars and their manifest table."""

import base64
import io
import math
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from touchstone_contracts.identity import sha256
from touchstone_contracts.image_sets import COLUMNS, ImageSet
from touchstone_contracts.takedowns import TakenDown
from touchstone_contracts.values import Blob

from touchstone_runtime.artifacts import Artifacts

TAKEN_DOWN = "taken_down"
"""Why a row is not kept whose image was taken down."""
BLANK_IMAGE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAFUlEQVR42mNsaGhgwAaYGHCAwSkBADAXAZDUexXGAAAAAElFTkSuQmCC"
)
"""A PNG of 8 x 8 grey pixels, which replaces what was taken down."""
BLANK_ID = sha256(BLANK_IMAGE)
SHARD_BYTES = 64 * 1024 * 1024
"""A tar is closed once it holds this much; large enough for few objects, small enough to fetch whole."""
HELD_BYTES = 2 * SHARD_BYTES
"""Of whole shards that a reader holds at once; images of further ones are read one by one."""
ROWS_AT_A_TIME = 1024
"""Rows of a manifest that are Python objects at once: as such they take ten times their memory."""
LOCATION_COLUMNS = ("id", "shard", "offset", "length")
"""The columns that say where an image lies."""

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("class_id", pa.int32()),
        ("caption", pa.string()),
        ("shard", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("source_kind", pa.string()),
        ("source_key", pa.string()),
        ("parent", pa.string()),
        ("found_by", pa.string()),
        ("query", pa.string()),
        ("similarity", pa.float32()),
        ("seed", pa.int64()),
        ("model_digest", pa.string()),
        ("tuning_digest", pa.string()),
        ("scheduler", pa.string()),
        ("steps", pa.int32()),
        ("guidance_scale", pa.float32()),
        ("gamma", pa.float32()),
        ("score", pa.float32()),
        ("kept", pa.bool_()),
        ("drop_reason", pa.string()),
        ("nearest_test_id", pa.string()),
        ("nearest_test_cosine", pa.float32()),
        ("nearest_validation_id", pa.string()),
        ("nearest_validation_cosine", pa.float32()),
        ("nearest_upstream_id", pa.string()),
        ("nearest_upstream_cosine", pa.float32()),
        ("part", pa.int32()),
        ("cluster", pa.string()),
    ]
)
assert set(SCHEMA.names) == set(COLUMNS)


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """Facts about one image; the writer adds where its bytes lie. Columns as in contracts.image_sets."""

    width: int
    height: int
    source_kind: str
    source_key: str
    class_id: int = -1
    caption: str = ""
    parent: str = ""
    found_by: str = ""
    query: str = ""
    similarity: float = math.nan
    seed: int = -1
    model_digest: str = ""
    tuning_digest: str = ""
    scheduler: str = ""
    steps: int = -1
    guidance_scale: float = math.nan
    gamma: float = math.nan
    score: float = math.nan
    kept: bool = True
    drop_reason: str = ""
    nearest_test_id: str = ""
    nearest_test_cosine: float = math.nan
    nearest_validation_id: str = ""
    nearest_validation_cosine: float = math.nan
    nearest_upstream_id: str = ""
    nearest_upstream_cosine: float = math.nan
    part: int = -1
    cluster: str = ""


_DEFAULTS = {fact.name: fact.default for fact in fields(ImageRecord) if fact.default is not MISSING}


def _blank(record: ImageRecord, name: str) -> ImageRecord:
    """The row of an image that was taken down. It stays, so that the rows after it keep their numbers."""
    named = replace(record, source_key=f"{TAKEN_DOWN}/{name}", caption="", parent="", query="")
    return replace(named, width=8, height=8, kept=False, drop_reason=TAKEN_DOWN)


@dataclass
class ImageSetWriter:
    """Collects encoded images into tar shards. `finish` writes the manifest and returns the set.

    An image that was taken down is replaced by a grey one that is not kept."""

    artifacts: Artifacts
    shard_bytes: int = SHARD_BYTES
    _count: int = 0
    _rows: list[dict[str, object]] = field(default_factory=list)
    _open: list[pa.Table] = field(default_factory=list)
    """Rows of the shard that is being filled, whose name is not known yet."""
    _closed: list[pa.Table] = field(default_factory=list)
    _shards: list[Blob] = field(default_factory=list)
    _buffer: io.BytesIO = field(default_factory=io.BytesIO)

    def __post_init__(self) -> None:
        self._taken_down = self.artifacts.taken_down()

    def add(self, image: bytes, record: ImageRecord) -> None:
        key = f"{self._count:09d}"
        if self._taken_down.covers(sha256(image), record.source_key, record.parent):
            image, record = BLANK_IMAGE, _blank(record, key)
        offset = self._append(f"{key}.{image_extension(image)}", image)
        if record.caption:
            self._append(f"{key}.txt", record.caption.encode())
        location = {"id": sha256(image), "offset": offset, "length": len(image)}
        self._rows.append(asdict(record) | location)
        self._count += 1
        if len(self._rows) == ROWS_AT_A_TIME:
            self._pack()
        if self._buffer.tell() >= self.shard_bytes:
            self._close_shard()

    def _append(self, name: str, data: bytes) -> int:
        """Adds one tar member and returns the offset of its first byte. No times, owners or modes of this machine."""
        info = tarfile.TarInfo(name)
        info.size = len(data)
        self._buffer.write(info.tobuf(tarfile.USTAR_FORMAT))
        offset = self._buffer.tell()
        self._buffer.write(data)
        self._buffer.write(b"\0" * (-len(data) % tarfile.BLOCKSIZE))
        return offset

    def _pack(self) -> None:
        self._open.append(pa.Table.from_pylist(self._rows, schema=SCHEMA))
        self._rows = []

    def _close_shard(self) -> None:
        self._pack()
        rows = pa.concat_tables(self._open)
        if not rows.num_rows:
            return
        self._buffer.write(b"\0" * (2 * tarfile.BLOCKSIZE))  # the end-of-archive mark
        blob = self.artifacts.put_blob(self._buffer.getvalue())
        self._shards.append(blob)
        index = SCHEMA.get_field_index("shard")
        self._closed.append(rows.set_column(index, SCHEMA.field(index), pa.repeat(blob.digest, rows.num_rows)))
        self._open, self._buffer = [], io.BytesIO()

    def finish(self) -> ImageSet:
        self._close_shard()
        # In one chunk: how a parquet file is cut into pages follows from the chunks.
        table = pa.concat_tables([SCHEMA.empty_table(), *self._closed]).combine_chunks()
        return save_image_set(self.artifacts, table, self._shards)


def save_image_set(artifacts: Artifacts, table: pa.Table, shards: Iterable[Blob]) -> ImageSet:
    """Writes the manifest of rows whose bytes lie in existing `shards`; shards no row needs are left out."""
    needed = set(table["shard"].to_pylist())
    used = tuple({blob.digest: blob for blob in shards if blob.digest in needed}.values())
    manifest = artifacts.put_table(with_all_columns(table))
    return ImageSet(manifest=manifest, shards=used, count=table.num_rows)


def with_all_columns(table: pa.Table) -> pa.Table:
    """In the order and types of SCHEMA. Manifests written before a column existed get its default."""
    for missing in set(SCHEMA.names) - set(table.column_names):
        column = pa.repeat(pa.scalar(_DEFAULTS[missing], SCHEMA.field(missing).type), table.num_rows)
        table = table.append_column(missing, column)
    return table.select(SCHEMA.names).cast(SCHEMA)


def image_extension(image: bytes) -> str:
    """File ending by magic bytes; WebDataset readers choose their decoder by it."""
    if image[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    if image[:4] == b"RIFF" and image[8:12] == b"WEBP":
        return "webp"
    return "jpg"


def read_images(
    artifacts: Artifacts, table: pa.Table, shards: Sequence[Blob], held_bytes: int = HELD_BYTES
) -> Iterator[bytes]:
    """The encoded images of a manifest's rows, in order, each with the digest that is its id. A shard is fetched whole
    when a quarter of it is needed and `held_bytes` are not exceeded, and dropped with the last of its images; other
    images are read one by one. Raises MissingObject or CorruptObject."""
    sizes = {blob.digest: blob.size for blob in shards}
    needed = table.select(["shard", "length"]).group_by("shard").aggregate([("length", "sum"), ("length", "count")])
    left = {row["shard"]: [row["length_sum"], row["length_count"]] for row in needed.to_pylist()}
    whole: dict[str, bytes] = {}
    for image, shard, offset, length in _locations(table):
        held = sum(map(len, whole.values()))
        if shard not in whole and left[shard][0] * 4 >= sizes[shard] and held + sizes[shard] <= held_bytes:
            whole[shard] = artifacts.get_blob(Blob(digest=shard, size=sizes[shard]))
        found = whole[shard][offset : offset + length] if shard in whole else None
        left[shard][0] -= length
        left[shard][1] -= 1
        if not left[shard][1]:
            whole.pop(shard, None)
        yield artifacts.get_image(image, shard, offset, length) if found is None else found


def _locations(table: pa.Table) -> Iterator[tuple[str, str, int, int]]:
    for batch in table.select(LOCATION_COLUMNS).to_batches(max_chunksize=ROWS_AT_A_TIME):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def in_storage_order(table: pa.Table) -> np.ndarray:
    """Row numbers, shard after shard and each from its beginning: a reader fetches every shard once and holds one."""
    order: np.ndarray = pc.sort_indices(table, [("shard", "ascending"), ("offset", "ascending")]).to_numpy()
    return order


class CoveredImage(NamedTuple):
    """A row of an image set whose image was taken down."""

    id: str
    shard: str
    """Empty for a link."""
    kept: bool


def covered_images(artifacts: Artifacts, images: ImageSet, taken_down: TakenDown) -> list[CoveredImage]:
    """Those that are still there. Raises MissingObject."""
    table = with_all_columns(artifacts.get_table(images.manifest))
    columns = (table[name].to_pylist() for name in ("id", "source_key", "parent", "shard", "kept"))
    return [
        CoveredImage(image, shard, kept)
        for image, key, parent, shard, kept in zip(*columns, strict=True)
        if image != BLANK_ID and taken_down.covers(image, key, parent)
    ]
