"""Parquet files with rows that must be refused between row groups that must arrive, and files that are none."""

import io
import random
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
from support.hostile_images import good_image

ROWS = 3
"""In each of the three row groups of a damaged table; those of the second cannot be read."""
Row = dict[str, object]


def damaged_tables(seed: int) -> Iterator[tuple[str, bytes]]:
    """(what it is, parquet) of tables whose second row group cannot be read."""
    rng = random.Random(seed)
    for number in range(24):
        column, compression = ("key", "image", "caption")[number % 3], ("none", "zstd", "snappy", "gzip")[number % 4]
        data = bytearray(table([_row(3 * number + each) for each in range(3 * ROWS)], compression))
        page = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(1)
        chunk = next(page.column(each) for each in range(3) if page.column(each).path_in_schema == column)
        start = chunk.dictionary_page_offset or chunk.data_page_offset
        data[start : start + 12] = rng.choice((b"\xff" * 12, b"\0" * 12, rng.randbytes(12)))
        yield f"damaged page of {column}, {compression} {number}", bytes(data)
    for size in (150, 200):
        rows = [_row(number) for number in range(3 * ROWS)]
        for each in range(ROWS):
            rows[ROWS + each]["image"] = b"\0" * (size * 2**20 if each == 0 else 10)
        yield f"value of {size} MiB", table(rows, "zstd")


def repeated_value(rows: int, size: int) -> bytes:
    """A value of `size` bytes that all rows share, so that a batch of them takes `rows` times as much."""
    return table([_row(number) | {"image": b"\0" * size} for number in range(rows)], "zstd", rows)


def no_tables() -> Iterator[tuple[str, bytes]]:
    """(what it is, bytes) of files whose description of themselves cannot be read."""
    good = table([_row(number) for number in range(3 * ROWS)], "none")
    footer = int.from_bytes(good[-8:-4], "little")
    for number in range(20):
        data = bytearray(good)
        offset = len(data) - 8 - footer + number
        data[offset : offset + 12] = b"\xff" * 12
        yield f"damaged footer {number}", bytes(data)
    for length in (0, 1, len(good), 2**31 - 1, 2**32 - 1):
        yield f"footer of {length} bytes", good[:-8] + length.to_bytes(4, "little") + b"PAR1"
    for part in (0, 4, 8, 100, len(good) - 1):
        yield f"{part} bytes of a table", good[:part]
    for magic in (b"PARE", b"ARROW1\0\0", b"ORC", b"Obj\1"):
        yield f"ends as {magic!r}", magic + good[4:-4] + magic


def table(rows: list[Row], compression: str, group_rows: int = ROWS) -> bytes:
    schema = pa.schema([("key", pa.string()), ("image", pa.binary()), ("caption", pa.string())])
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema), sink, compression=compression, row_group_size=group_rows)
    return sink.getvalue()


def _row(number: int) -> Row:
    return {"key": f"row-{number}", "image": good_image(1000 + number), "caption": f"caption {number}"}
