"""Embedding many images or captions: what repeats is embedded once, memory holds a few batches and what comes out, and
an attempt goes on where an earlier one was."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from touchstone_encoders.devices import arithmetic
from touchstone_encoders.embedding import image_batches, text_batches
from touchstone_encoders.loading import LoadedEncoder, LoadedTower
from touchstone_runtime.done_items import DoneItems, resumed
from touchstone_runtime.serving import Progress


def embed_image_stream(
    encoder: LoadedTower,
    images_after: Callable[[int], Iterable[bytes]],
    total: int,
    progress: Progress,
    dtype: npt.DTypeLike = np.float32,
) -> np.ndarray:
    """(total, dimension), L2-normalised, in order; (0, 0) for no images. `images_after(n)`: without the first n, which
    an earlier attempt has embedded."""

    def rest(done: int) -> Iterator[list[bytes]]:
        for rows in image_batches(encoder, images_after(done)):
            done += len(rows)
            progress(done, total)
            yield [row.tobytes() for row in rows]

    return _vectors(resumed(_done_items(progress, "images", encoder), rest), total, dtype)


def _done_items(progress: Progress, name: str, encoder: LoadedTower) -> DoneItems:
    return DoneItems(progress.savepoints, name, arithmetic(encoder.device))


def _vectors(rows: Iterable[bytes], count: int, dtype: npt.DTypeLike = np.float32) -> np.ndarray:
    """(count, dimension) from the bytes of each row in float32; (0, 0) for none."""
    found = np.zeros((0, 0), dtype=dtype)
    for number, row in enumerate(rows):
        vector = np.frombuffer(row, dtype=np.float32)
        found = found if number else np.empty((count, len(vector)), dtype=dtype)
        found[number] = vector
    return found


def embed_distinct_texts(encoder: LoadedEncoder, texts: Sequence[str], progress: Progress) -> np.ndarray:
    """As embed_texts; a text that repeats is embedded once (captions repeat two or three times in web collections)."""
    first, inverse = first_of_each(texts)
    distinct = [texts[row] for row in first]

    def rest(done: int) -> Iterator[list[bytes]]:
        for rows in text_batches(encoder, distinct, done, progress=progress):
            yield [row.tobytes() for row in rows]

    vectors = _vectors(resumed(_done_items(progress, "captions", encoder), rest), len(distinct))
    return vectors[inverse] if len(texts) else vectors


def first_of_each(values: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Where each distinct value comes first, (distinct,), and for each value which of them it is, (values,)."""
    number: dict[str, int] = {}
    first: list[int] = []
    inverse = np.zeros(len(values), dtype=np.int64)
    for row, value in enumerate(values):
        if value not in number:
            number[value] = len(first)
            first.append(row)
        inverse[row] = number[value]
    return np.array(first, dtype=np.int64), inverse
