"""Reading parquet files that nobody vouches for, in a process that may not take much memory or time."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
from touchstone_runtime.confined import ConfinedPool, Died, Limits

from touchstone_retrieval.ingest.parquet_frames import BATCH, ERROR, KIND_BYTES, LARGE_ROW
from touchstone_retrieval.ingest.source import UnreadableSource

BATCH_BYTES = 16 * 2**20
"""As the file says; what it says may be wrong."""
MOST_LOST_GROUPS = 20
"""Row groups that break off, each of which costs two attempts; then the file is read no further."""
MEMORY_BYTES = 2**30
"""Of the process. Writers put 1,024 rows or more into one page, which is unpacked whole: 200 MB of images in a page
take this much."""
MOST_ROWS = 100_000_000
"""Of a file. A lost row keeps its row number."""
BINARY = {
    pa.string(): pa.binary(), pa.large_string(): pa.large_binary(), pa.string_view(): pa.binary_view(),
}  # fmt: skip
"""Bytes instead of text, because a value may be no UTF-8."""
UNREADABLE = object()
"""Stands for a value that is in the file and that no Python type can hold."""


@dataclass(frozen=True)
class Lost:
    """Consecutive rows that cannot be read, in file order between those that can."""

    num_rows: int
    reason: str


@dataclass(frozen=True)
class ConfinedParquet:
    path: Path
    names: tuple[str, ...]
    count: int
    """Rows."""
    groups: tuple[tuple[int, int], ...]
    """Rows and bytes of each row group, as the file says."""
    types: tuple[str, ...] = ()
    """Of the columns, in the words of Arrow."""
    huggingface: str = ""
    """JSON: what Hugging Face's datasets say of the columns, or empty."""

    def batches(self, columns: Sequence[str], most_rows: int) -> Iterator[pa.RecordBatch | Lost]:
        """All rows, in order. Where reading breaks off, the row group is read again row by row up to there; what comes
        after that in the row group is lost, because pages cannot be skipped."""
        lost_groups = 0
        for number, (rows, size) in enumerate(self.groups):
            if lost_groups > MOST_LOST_GROUPS:
                yield Lost(rows, "damaged_page")
                continue
            at_a_time = max(1, min(most_rows, BATCH_BYTES * rows // max(size, 1)))
            read, reason = 0, ""
            for rows_each in (at_a_time, 1):
                for part in self._group(number, columns, read, rows_each):
                    if isinstance(part, str):
                        reason = part
                        continue
                    if isinstance(part, pa.RecordBatch):
                        part = part.slice(0, rows - read)
                    read, reason = read + part.num_rows, ""
                    yield part
                if read == rows:
                    break
            if read < rows:
                lost_groups += 1
                yield Lost(rows - read, reason or "damaged_page")

    def _group(
        self, number: int, columns: Sequence[str], skip: int, rows: int
    ) -> Iterator[pa.RecordBatch | Lost | str]:
        """Batches of a row group after its first rows, and at last why it breaks off, where it does."""
        asked = {"path": str(self.path), "columns": list(columns), "group": number, "skip": skip, "rows": rows}
        try:
            with readers().process() as process:
                for answer in process.ask(json.dumps(asked).encode()):
                    yield _part(answer)
        except Died as death:
            yield death.how
        except (pa.ArrowException, StopIteration):
            yield "damaged_page"


def open_parquet(path: Path, location: str) -> ConfinedParquet:
    """Raises UnreadableSource when it is no parquet file."""
    answer = _description(path, location)
    if answer.startswith(ERROR):
        raise UnreadableSource(f"{location} cannot be read as parquet: {answer[KIND_BYTES:].decode()}")
    said = json.loads(answer[KIND_BYTES:])
    groups = tuple((rows, size) for rows, size in said["groups"])
    if said["rows"] > MOST_ROWS:
        raise UnreadableSource(
            f"{location} has {said['rows']:,} rows, {MOST_ROWS:,} at most are read", code="too_many_rows"
        )
    if sum(rows for rows, _ in groups) != said["rows"] or any(rows < 0 for rows, _ in groups):
        raise UnreadableSource(f"{location} cannot be read as parquet: its row groups do not add up to its rows")
    if len(set(said["names"])) < len(said["names"]):
        raise UnreadableSource(f"{location} has two columns of one name", code="duplicate_column")
    return ConfinedParquet(path, tuple(said["names"]), said["rows"], groups, tuple(said["types"]), said["huggingface"])


def _description(path: Path, location: str) -> bytearray:
    """What the file says of itself, or an error. Asked of a used process at first, as an image is."""
    request = json.dumps({"path": str(path)}).encode()
    for fresh in (False, True):
        try:
            with readers().process(fresh=fresh) as process:
                (answer,) = process.ask(request)
                return answer
        except Died as death:
            how = death.how.replace("_", " ")
    raise UnreadableSource(f"{location} cannot be read as parquet: {how}")


def column_values(batch: pa.RecordBatch, name: str) -> list[Any]:
    """Python values, with None for null and UNREADABLE where there is none. Text that is no UTF-8 has surrogates."""
    column = batch.column(name)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if binary := BINARY.get(column.type):
        values = column.cast(binary).to_pylist()
        return [None if value is None else value.decode("utf-8", "surrogateescape") for value in values]
    try:
        values = column.to_pylist()
    except Exception:  # one value spoils the list: dates beyond those of Python, for one
        values = [_value(scalar) for scalar in column]
    return list(values)


def _value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except Exception:
        return UNREADABLE


def _part(answer: bytearray) -> pa.RecordBatch | Lost | str:
    if answer.startswith(LARGE_ROW):
        return Lost(1, "too_many_bytes")
    if not answer.startswith(BATCH):
        return "damaged_page"
    (batch,) = pa.ipc.open_stream(pa.py_buffer(answer)[KIND_BYTES:])
    batch.validate()
    return batch


@cache
def readers() -> ConfinedPool:
    """Of this process."""
    return ConfinedPool(
        "touchstone_retrieval.ingest.parquet_process:answers", Limits(memory_bytes=MEMORY_BYTES, open_files=32)
    )
