"""Writing and reading image sets: deterministic WebDataset tars and their manifest table."""

import io
import math
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields

import pyarrow as pa
from touchstone_contracts.identity import sha256
from touchstone_contracts.image_sets import COLUMNS, ImageSet
from touchstone_contracts.values import Blob

from touchstone_runtime.artifacts import Artifacts

SHARD_BYTES = 64 * 1024 * 1024
"""A tar is closed once it holds this much; large enough for few objects, small enough to fetch whole."""

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


@dataclass
class ImageSetWriter:
    """Collects encoded images into tar shards. `finish` writes the manifest and returns the set."""

    artifacts: Artifacts
    shard_bytes: int = SHARD_BYTES
    _rows: list[dict[str, object]] = field(default_factory=list)
    _open_rows: list[dict[str, object]] = field(default_factory=list)
    _shards: list[Blob] = field(default_factory=list)
    _buffer: io.BytesIO = field(default_factory=io.BytesIO)

    def add(self, image: bytes, record: ImageRecord) -> None:
        key = f"{len(self._rows) + len(self._open_rows):09d}"
        offset = self._append(f"{key}.{image_extension(image)}", image)
        if record.caption:
            self._append(f"{key}.txt", record.caption.encode())
        place = {"id": sha256(image), "offset": offset, "length": len(image)}
        self._open_rows.append(asdict(record) | place)
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

    def _close_shard(self) -> None:
        if not self._open_rows:
            return
        self._buffer.write(b"\0" * (2 * tarfile.BLOCKSIZE))  # the end-of-archive mark
        blob = self.artifacts.put_blob(self._buffer.getvalue())
        self._shards.append(blob)
        self._rows += [row | {"shard": blob.digest} for row in self._open_rows]
        self._open_rows, self._buffer = [], io.BytesIO()

    def finish(self) -> ImageSet:
        self._close_shard()
        table = pa.Table.from_pylist(self._rows, schema=SCHEMA)
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


def read_images(artifacts: Artifacts, table: pa.Table, shards: Sequence[Blob]) -> Iterator[bytes]:
    """The encoded images of a manifest's rows, in order. A shard is fetched whole when a quarter of it is needed."""
    sizes = {blob.digest: blob.size for blob in shards}
    places = list(
        zip(
            table["shard"].to_pylist(),
            table["offset"].to_pylist(),
            table["length"].to_pylist(),
            strict=True,
        )
    )
    wanted: dict[str, int] = {}
    for shard, _, length in places:
        wanted[shard] = wanted.get(shard, 0) + length
    whole: dict[str, bytes] = {}
    for shard, offset, length in places:
        if shard not in whole and wanted[shard] * 4 >= sizes[shard]:
            whole[shard] = artifacts.get_blob(Blob(digest=shard, size=sizes[shard]))
        if shard in whole:
            yield whole[shard][offset : offset + length]
        else:
            yield artifacts.get_range(shard, offset, length)
