"""Encoded images that are too many for memory, in a file that goes with the process."""

import os
import tempfile
from collections.abc import Iterable

import numpy as np


class ImagesOnDisk:
    """Read one at a time, by any thread and by processes that were forked after it was filled.

    The file lies in the system's folder for temporary files (TMPDIR), has no name and is gone with the last process
    that has it open, however that ends. Raises OSError where the disk is full."""

    def __init__(self, images: Iterable[bytes], order: np.ndarray) -> None:
        """`order` (images,): which number each of `images` has, as they come."""
        self._file = tempfile.TemporaryFile(prefix="touchstone-images-")  # noqa: SIM115, open as long as this is used
        self._starts, self._lengths = np.zeros((2, len(order)), dtype=np.int64)
        for number, image in zip(order.tolist(), images, strict=True):
            self._starts[number], self._lengths[number] = self._file.tell(), len(image)
            self._file.write(image)
        self._file.flush()

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, number: int, /) -> bytes:
        return os.pread(self._file.fileno(), int(self._lengths[number]), int(self._starts[number]))
