"""Curated pools side by side: what a mixture draws from (paper section 4.5)."""

from collections.abc import Sequence

import pyarrow as pa

ALREADY_IN = "near_duplicate"
"""Why an image goes that an earlier part keeps for the same class: it would count twice."""


def mixed_table(pools: Sequence[pa.Table]) -> pa.Table:
    """Every row of the pools in order, kept or dropped as each pool's own curation decided; `part` says which pool.

    Labels cannot shift: class ids are the target's and are copied as they are."""
    rows = [row | {"part": part} for part, pool in enumerate(pools) for row in pool.to_pylist()]
    taken: set[tuple[int, str]] = set()
    for row in rows:
        image = (row["class_id"], row["id"])
        if row["kept"] and image in taken:
            row.update(kept=False, drop_reason=ALREADY_IN)
        elif row["kept"]:
            taken.add(image)
    return pa.Table.from_pylist(rows, schema=pools[0].schema)
