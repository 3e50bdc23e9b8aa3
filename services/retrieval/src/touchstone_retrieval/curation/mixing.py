"""Curated pools side by side: what a mixture draws from (paper section 4.5)."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from touchstone_retrieval.columns import with_columns

ALREADY_IN = "near_duplicate"
"""Why an image goes that an earlier part keeps for the same class: it would count twice."""


def mixed_table(pools: Sequence[pa.Table]) -> pa.Table:
    """Every row of the pools in order, kept or dropped as each pool's own curation decided; `part` says which pool.

    Labels cannot shift: class ids are the target's and are copied as they are."""
    table = pa.concat_tables(pools).combine_chunks()
    kept, taken = table["kept"].to_pylist(), set[tuple[int, str]]()
    reasons = table["drop_reason"].to_pylist()
    for row, image in enumerate(zip(table["class_id"].to_pylist(), table["id"].to_pylist(), strict=True)):
        if kept[row] and image in taken:
            kept[row], reasons[row] = False, ALREADY_IN
        elif kept[row]:
            taken.add(image)
    parts = np.repeat(np.arange(len(pools)), [pool.num_rows for pool in pools])
    return with_columns(table, {"kept": kept, "drop_reason": reasons, "part": parts})
