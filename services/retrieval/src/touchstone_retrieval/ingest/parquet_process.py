"""What the process does that reads parquet files which nobody vouches for: see parquet_reading.

A page of a few kilobytes may announce gigabytes, and what reads it is written in C++."""

import json
import os
from collections.abc import Iterator
from typing import Any

# Read when pyarrow starts, so nobody else may import this module. The other allocators reserve more address space than
# the process may have.
os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"

import pyarrow as pa
import pyarrow.parquet as pq

from touchstone_retrieval.ingest.parquet_frames import BATCH, DESCRIPTION, ERROR, LARGE_ROW

MOST_SENT_BYTES = 65 * 2**20
"""Of rows that are sent at once: an image of MAX_BYTES and what is said of it."""
MOST_GROUPS = 100_000
MOST_SAID_BYTES = 2**20
"""Of what a file says of its columns beside their types."""


def answers(request: memoryview) -> Iterator[bytes | memoryview]:
    """`{"path"}`: what the file says of itself. `{"path", "columns", "group", "skip", "rows"}`: the rows of a row group
    after the first `skip`, as Arrow streams of `rows` each. Then or instead an error, in words."""
    asked: dict[str, Any] = json.loads(bytes(request))
    try:
        file = pq.ParquetFile(asked["path"], memory_map=False)
        if "columns" in asked:
            yield from _batches(file, asked)
        else:
            yield DESCRIPTION + json.dumps(_described(file)).encode()
    except MemoryError:
        raise
    except Exception as error:  # whatever reads the file may raise whatever it likes
        yield ERROR + f"{type(error).__name__}: {error}"[:500].encode("utf-8", "replace")


def _described(file: pq.ParquetFile) -> dict[str, Any]:
    metadata = file.metadata
    if metadata.num_row_groups > MOST_GROUPS:
        raise ValueError(f"{metadata.num_row_groups} row groups, {MOST_GROUPS} at most are read")
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    return {
        "names": file.schema_arrow.names,
        "hugging_face": (file.schema_arrow.metadata or {}).get(b"huggingface", b"")[:MOST_SAID_BYTES].decode(),
        "rows": metadata.num_rows,
        "groups": [[group.num_rows, group.total_byte_size] for group in groups],
    }


def _batches(file: pq.ParquetFile, asked: dict[str, Any]) -> Iterator[bytes | memoryview]:
    skip = asked["skip"]
    for batch in file.iter_batches(
        asked["rows"], row_groups=[asked["group"]], columns=asked["columns"], use_threads=False
    ):
        if batch.num_rows > skip:
            yield from _portions(batch.slice(skip))
        skip = max(0, skip - batch.num_rows)


def _portions(batch: pa.RecordBatch) -> Iterator[bytes | memoryview]:
    """Rows of up to MOST_SENT_BYTES: what a page holds may be far larger than the page. A larger row is none."""
    if batch.nbytes <= MOST_SENT_BYTES:
        yield _stream(batch)
    elif batch.num_rows == 1:
        yield LARGE_ROW
    else:
        half = batch.num_rows // 2
        yield from _portions(batch.slice(0, half))
        yield from _portions(batch.slice(half))


def _stream(batch: pa.RecordBatch) -> memoryview:
    sink = pa.BufferOutputStream()
    sink.write(BATCH)
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return memoryview(sink.getvalue())
