"""Embedding an image set in chunks, so that memory holds a chunk of encoded images and not a shard of them."""

from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np
from touchstone_encoders.embedding import embed_images, embed_texts
from touchstone_encoders.loading import LoadedEncoder, LoadedTower
from touchstone_runtime.serving import ProgressFunction, no_progress

CHUNK = 2048
"""A multiple of the encoder's batch: cutting into chunks changes no batch."""


def embed_image_stream(
    encoder: LoadedTower, images: Iterable[bytes], total: int, progress: ProgressFunction = no_progress
) -> np.ndarray:
    """float32 (total, dimension), L2-normalised, in order; (0, 0) for no images."""
    stream, rows, done = iter(images), [np.zeros((0, 0), dtype=np.float32)], 0
    while chunk := list(islice(stream, CHUNK)):
        rows.append(embed_images(encoder, chunk, _after(progress, done, total)))
        done += len(chunk)
    return np.concatenate(rows[1:]) if done else rows[0]


def _after(progress: ProgressFunction, before: int, total: int) -> ProgressFunction:
    """Progress within a chunk as progress within all of them."""
    return lambda done, _: progress(before + done, total)


def embed_distinct_texts(
    encoder: LoadedEncoder, texts: Sequence[str], progress: ProgressFunction = no_progress
) -> np.ndarray:
    """As embed_texts; a text that repeats is embedded once (captions repeat two or three times in web collections)."""
    first, place = first_of_each(texts)
    vectors = embed_texts(encoder, [texts[row] for row in first], progress=progress)
    return vectors[place] if len(texts) else vectors


def first_of_each(values: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Where each distinct value comes first, (distinct,), and for each value which of them it is, (values,)."""
    number: dict[str, int] = {}
    first: list[int] = []
    place = np.zeros(len(values), dtype=np.int64)
    for row, value in enumerate(values):
        if value not in number:
            number[value] = len(first)
            first.append(row)
        place[row] = number[value]
    return np.array(first, dtype=np.int64), place
