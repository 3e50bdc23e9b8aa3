"""Result rows as files: CSV and Parquet with the columns of ResultRow."""

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from touchstone_contracts.views import ResultRow

if TYPE_CHECKING:
    import pyarrow as pa


def _schema() -> "pa.Schema":
    import pyarrow as pa

    return pa.schema(
        [
            ("target", pa.string()),
            ("arm", pa.string()),
            ("size", pa.int64()),
            ("seed", pa.int64()),
            ("metric", pa.string()),
            ("value", pa.float64()),
            ("learning_rate", pa.float64()),
            ("peak_lr_fraction", pa.float64()),
            ("updates", pa.int64()),
            ("validation", pa.float64()),
            ("test_set", pa.string()),
            ("test_images", pa.int64()),
            ("macro", pa.float64()),
            ("top5", pa.float64()),
            ("calibration_error", pa.float64()),
        ]
    )


def csv_table(rows: Sequence[ResultRow]) -> str:
    """RFC 4180; an empty field is a missing value. Numbers read back to the last digit."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, tuple(ResultRow.model_fields))
    writer.writeheader()
    writer.writerows(row.model_dump() for row in rows)
    return buffer.getvalue()


def parquet_table(rows: Sequence[ResultRow]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(
        pa.Table.from_pylist([row.model_dump() for row in rows], schema=_schema()), buffer, compression="zstd"
    )
    return buffer.getvalue()
