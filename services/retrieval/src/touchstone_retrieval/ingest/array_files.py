"""Arrays that NumPy wrote, read a part at a time: `.npy` files, and single arrays of `.npz` files."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from touchstone_runtime.artifacts import ONE_HEADER_AT_A_TIME
from touchstone_runtime.confined import ConfinedPool, Died, Limits

from touchstone_retrieval.ingest.npz_process import DATA, ERROR, HEADER, KIND_BYTES, NAMES

ROWS_AT_A_TIME = 65_536
MEMORY_BYTES = 2**30
"""Of the process that reads `.npz` files."""


class NotAnArray(ValueError):
    """What is wrong with a file, in words that follow its name."""


@dataclass(frozen=True)
class StoredArray:
    dtype: np.dtype
    shape: tuple[int, ...]
    parts: Callable[[], Iterator[np.ndarray]]
    """Its rows in order. Raises NotAnArray where the file ends early or is damaged."""


def stored_array(path: Path, array: str | None) -> StoredArray:
    """`array`: which one of an `.npz` file; None: the file is a `.npy`. Raises NotAnArray."""
    return _in_npy(path) if array is None else _in_npz(path, array)


def array_names(path: Path) -> tuple[str, ...]:
    """Of an `.npz` file. Raises NotAnArray."""
    (answer,) = _answers({"path": str(path)}, NAMES)
    return tuple(json.loads(bytes(answer)))


def _in_npy(path: Path) -> StoredArray:
    try:
        with ONE_HEADER_AT_A_TIME:
            given = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # its header is Python, and whatever is wrong with that is wrong with the file
        raise NotAnArray(f"is not a .npy array: {error}") from error

    def parts() -> Iterator[np.ndarray]:
        return (given[first : first + ROWS_AT_A_TIME] for first in range(0, len(given), ROWS_AT_A_TIME))

    return StoredArray(given.dtype, given.shape, parts)


def _in_npz(path: Path, array: str) -> StoredArray:
    asked = {"path": str(path), "array": array}
    (answer,) = _answers(asked, HEADER)
    said: dict[str, Any] = json.loads(bytes(answer))
    dtype, shape = np.dtype(said["dtype"]), tuple(said["shape"])
    if said["fortran"] and len(shape) > 1:
        raise NotAnArray(f"holds {array} column by column: save np.ascontiguousarray of it")
    row_bytes = dtype.itemsize * prod(shape[1:])

    def parts() -> Iterator[np.ndarray]:
        for data in _answers(asked | {"rows": shape[0], "row_bytes": row_bytes}, DATA):
            yield np.frombuffer(data, dtype).reshape(-1, *shape[1:])

    return StoredArray(dtype, shape, parts)


def _answers(asked: dict[str, Any], kind: bytes) -> Iterator[memoryview]:
    """What follows the kind. The last one of the process is taken before this ends."""
    try:
        with _readers().process() as process:
            for answer in process.ask(json.dumps(asked).encode()):
                payload = memoryview(answer)[KIND_BYTES:]
                if answer.startswith(ERROR):
                    raise NotAnArray(f"cannot be read as .npz: {bytes(payload).decode()}")
                if not answer.startswith(kind):
                    raise NotAnArray("cannot be read as .npz")
                yield payload
    except Died as death:
        raise NotAnArray(f"cannot be read as .npz: {death.how.replace('_', ' ')}") from death


@cache
def _readers() -> ConfinedPool:
    """Of this process."""
    return ConfinedPool(
        "touchstone_retrieval.ingest.npz_process:answers", Limits(memory_bytes=MEMORY_BYTES, open_files=32)
    )
