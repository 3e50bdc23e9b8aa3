"""Embedding an image set in chunks, so that memory holds a chunk of encoded images and not a shard of them."""

from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np
from touchstone_encoders.embedding import embed_images, embed_texts
from touchstone_encoders.loading import LoadedEncoder
from touchstone_runtime.serving import ProgressFunction, no_progress

CHUNK = 2048
"""A multiple of the encoder's batch: cutting into chunks changes no batch."""


def embed_image_stream(
    encoder: LoadedEncoder, images: Iterable[bytes], total: int, progress: ProgressFunction = no_progress
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
    distinct = list(dict.fromkeys(texts))
    place = {text: position for position, text in enumerate(distinct)}
    vectors = embed_texts(encoder, distinct, progress=progress)
    return vectors[[place[text] for text in texts]] if texts else vectors
