"""Replacing columns of a manifest."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa


def with_columns(table: pa.Table, columns: Mapping[str, Any]) -> pa.Table:
    """With other values in columns that it has, of the types they have."""
    for name, values in columns.items():
        index = table.schema.get_field_index(name)
        field = table.schema.field(index)
        table = table.set_column(index, field, pa.array(values, field.type))
    return table
