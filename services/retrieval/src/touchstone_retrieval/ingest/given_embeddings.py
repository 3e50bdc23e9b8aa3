"""Embeddings that came with an upstream, taken over instead of computed."""

from pathlib import Path

import numpy as np
from touchstone_contracts.problems import Invalid

from touchstone_retrieval.embedded_images import normalised

ROWS_AT_A_TIME = 65_536


class UnusableEmbeddings(Invalid):
    code = "embeddings_mismatch"
    title = "Unusable embeddings"


def read_embeddings(path: Path, place: str, rows: int, dimension: int) -> np.ndarray:
    """fp16 (rows, dimension), L2-normalised, of a `.npy` with fp16 or fp32 values.

    Raises UnusableEmbeddings for another shape or type and for a value that is not finite."""
    try:
        given = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # its header is Python, and whatever is wrong with that is wrong with the file
        raise UnusableEmbeddings(f"{place} is not a .npy array: {error}") from error
    if given.dtype not in (np.float16, np.float32):
        raise UnusableEmbeddings(f"{place} holds {given.dtype}, not float16 or float32")
    if given.shape != (rows, dimension):
        raise UnusableEmbeddings(
            f"{place} has shape {given.shape}; its table has {rows} rows and the index encoder {dimension} dimensions"
        )
    parts = (given[first : first + ROWS_AT_A_TIME] for first in range(0, rows, ROWS_AT_A_TIME))
    return np.concatenate([_checked(part, place) for part in parts])


def _checked(part: np.ndarray, place: str) -> np.ndarray:
    if not np.isfinite(part).all():
        raise UnusableEmbeddings(f"{place} holds values that are not finite")
    return normalised(part).astype(np.float16)
