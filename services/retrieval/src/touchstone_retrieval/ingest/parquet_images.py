"""Encoded images out of a parquet column, in the forms that published files have."""

import pyarrow as pa

from touchstone_retrieval.ingest.source import UnreadableSource

LISTS = (
    pa.ListScalar, pa.LargeListScalar, pa.FixedSizeListScalar, pa.ListViewScalar, pa.LargeListViewScalar,
)  # fmt: skip
SEVERAL_IMAGES, IMAGE_ELSEWHERE, MISSING_BYTES = "several_images", "image_elsewhere", "missing_bytes"
BYTES, PATH = "bytes", "path"
"""Fields of a struct, as Hugging Face's datasets write images."""


def image_in(value: pa.Scalar, column: str) -> tuple[bytes | None, str]:
    """The bytes, or why there are none. A struct has them in its field `bytes`; a list may hold one image.

    Raises UnreadableSource where the column holds something else."""
    if isinstance(value, pa.DictionaryScalar | pa.ExtensionScalar):
        value = value.value
    if value is None or not value.is_valid:
        return None, MISSING_BYTES
    if isinstance(value, LISTS):
        if len(value) != 1:
            return None, SEVERAL_IMAGES if len(value) else MISSING_BYTES
        return image_in(value[0], column)
    if isinstance(value, pa.StructScalar) and BYTES in list(value):
        return _in_struct(value, column)
    found = None if pa.types.is_nested(value.type) or _is_text(value.type) else value.as_py()
    if not isinstance(found, bytes):
        raise UnreadableSource(f"column {column} holds {value.type}, not encoded bytes", code="wrong_column_type")
    return (found, "") if found else (None, MISSING_BYTES)


def _in_struct(value: pa.StructScalar, column: str) -> tuple[bytes | None, str]:
    found, reason = image_in(value[BYTES], column)
    elsewhere = reason == MISSING_BYTES and PATH in list(value) and value[PATH].is_valid
    return found, IMAGE_ELSEWHERE if elsewhere else reason


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
