"""Embeddings that came with an upstream, taken over instead of computed."""

from pathlib import Path

import numpy as np
from touchstone_contracts.problems import Invalid

from touchstone_retrieval.embedded_images import normalised
from touchstone_retrieval.ingest.array_files import NotAnArray, StoredArray, stored_array
from touchstone_retrieval.unusable_rows import usable_rows

MOST_UNUSABLE = 0.5
"""Share of rows: a file of which more cannot be used is broken."""
SQUARABLE = (1e-15, 1e15)
"""Largest values of rows whose lengths can be computed in 32 bits."""


class UnusableEmbeddings(Invalid):
    code = "embeddings_mismatch"
    title = "Unusable embeddings"


def read_embeddings(path: Path, location: str, rows: int, dimension: int, array: str | None = None) -> np.ndarray:
    """fp16 (rows, dimension), L2-normalised whatever their length was, of fp16 or fp32 values. A row that is not
    finite, or zero, is zero. `array`: which one of an `.npz` file; None: the file is a `.npy`.

    Raises UnusableEmbeddings for another shape or type, and where more than MOST_UNUSABLE of the rows are zero."""
    called = location if array is None else f"{array} of {location}"
    try:
        given = stored_array(path, array)
        _require_shape(given, called, rows, dimension)
        taken = np.concatenate([np.zeros((0, dimension), np.float16), *map(_unit_rows, given.parts())])
    except NotAnArray as error:
        raise UnusableEmbeddings(f"{called} {error}") from error
    unusable = rows - int(usable_rows(taken).sum())
    if unusable > MOST_UNUSABLE * rows:
        raise UnusableEmbeddings(
            f"{unusable} of {rows} rows of {called} are zero or not finite, more than {100 * MOST_UNUSABLE:.0f} %. "
            "Write the file again; in float32 if values beyond 65,504 became infinite"
        )
    return taken


def _require_shape(given: StoredArray, called: str, rows: int, dimension: int) -> None:
    """Before anything of it is read."""
    if given.dtype not in (np.float16, np.float32):
        raise UnusableEmbeddings(f"{called} holds {given.dtype}, not float16 or float32")
    if given.shape != (rows, dimension):
        raise UnusableEmbeddings(
            f"{called} has shape {given.shape}; its table has {rows} rows and the index encoder {dimension} "
            "dimensions. Each row of the table needs one row of embeddings, in the same order"
        )


def _unit_rows(part: np.ndarray) -> np.ndarray:
    wide = np.where(usable_rows(part)[:, None], part, 0).astype(np.float32)
    largest = np.abs(wide).max(axis=1)
    rescaled = (largest > 0) & ((largest < SQUARABLE[0]) | (largest > SQUARABLE[1]))
    wide[rescaled] /= largest[rescaled, None]
    return normalised(wide).astype(np.float16)
