"""Embeddings that came with an upstream, taken over instead of computed."""

from pathlib import Path

import numpy as np
from touchstone_contracts.problems import Invalid

from touchstone_retrieval.embedded_images import normalised
from touchstone_retrieval.unusable_rows import usable_rows

ROWS_AT_A_TIME = 65_536
MOST_UNUSABLE = 0.5
"""Share of rows: a file of which more cannot be used is broken."""
SQUARABLE = (1e-15, 1e15)
"""Largest values of rows whose lengths can be computed in 32 bits."""


class UnusableEmbeddings(Invalid):
    code = "embeddings_mismatch"
    title = "Unusable embeddings"


def read_embeddings(path: Path, place: str, rows: int, dimension: int) -> np.ndarray:
    """fp16 (rows, dimension), L2-normalised whatever their length was, of a `.npy` with fp16 or fp32 values. A row that
    is not finite, or zero, is zero.

    Raises UnusableEmbeddings for another shape or type, and where more than MOST_UNUSABLE of the rows are zero."""
    try:
        given = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # its header is Python, and whatever is wrong with that is wrong with the file
        raise UnusableEmbeddings(f"{place} is not a .npy array: {error}") from error
    if given.dtype not in (np.float16, np.float32):
        raise UnusableEmbeddings(f"{place} holds {given.dtype}, not float16 or float32")
    if given.shape != (rows, dimension):
        raise UnusableEmbeddings(
            f"{place} has shape {given.shape}; its table has {rows} rows and the index encoder {dimension} dimensions. "
            "Each row of the table needs one row of embeddings, in the same order"
        )
    parts = (given[first : first + ROWS_AT_A_TIME] for first in range(0, rows, ROWS_AT_A_TIME))
    taken = np.concatenate([_unit_rows(part) for part in parts])
    unusable = rows - int(usable_rows(taken).sum())
    if unusable > MOST_UNUSABLE * rows:
        raise UnusableEmbeddings(
            f"{unusable} of {rows} rows of {place} are zero or not finite, more than {100 * MOST_UNUSABLE:.0f} %. "
            "Write the file again; in float32 if values beyond 65,504 became infinite"
        )
    return taken


def _unit_rows(part: np.ndarray) -> np.ndarray:
    wide = np.where(usable_rows(part)[:, None], part, 0).astype(np.float32)
    largest = np.abs(wide).max(axis=1)
    rescaled = (largest > 0) & ((largest < SQUARABLE[0]) | (largest > SQUARABLE[1]))
    wide[rescaled] /= largest[rescaled, None]
    return normalised(wide).astype(np.float16)
