"""Embeddings: images and texts in, L2-normalised float32 arrays out."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch.nn import functional
from touchstone_contracts.catalogue import ClassLabel, filled
from touchstone_runtime.serving import ProgressFunction, no_progress

from touchstone_encoders.decoding import decode_image
from touchstone_encoders.loading import LoadedEncoder, LoadedTower

BATCH = 64
MOST_DECODING_THREADS = 8


@torch.inference_mode()
def embed_images(encoder: LoadedTower, images: Sequence[bytes], progress: ProgressFunction = no_progress) -> np.ndarray:
    """Encoded images -> (images, dimension). Raises UndecodableImage."""
    rows, done = [], 0
    for pixels in _pixel_batches(encoder, images):
        count = min(BATCH, len(images) - done)
        rows.append(functional.normalize(encoder.visual(pixels)[:count], dim=-1).float().cpu().numpy())
        done += count
        progress(done, len(images))
    return np.concatenate(rows) if rows else np.zeros((0, 0), dtype=np.float32)


def _pixel_batches(encoder: LoadedTower, images: Sequence[bytes]) -> Iterator[torch.Tensor]:
    """(batch, 3, size, size) in order; the next batches are decoded while the model works on this one."""

    def prepare(start: int) -> torch.Tensor:
        pixels = torch.stack([encoder.preprocess(decode_image(data)) for data in images[start : start + BATCH]])
        pixels = filled_batch(pixels, encoder.device)
        # Convolutions on CPUs run half as fast again on this layout; transformers do not care.
        return pixels.to(encoder.device, memory_format=torch.channels_last)

    threads = decoding_threads(encoder.device)
    with ThreadPoolExecutor(max_workers=threads) as ahead:
        waiting: deque[Future[torch.Tensor]] = deque()
        for start in range(0, len(images), BATCH):
            waiting.append(ahead.submit(prepare, start))
            if len(waiting) == threads + 1:
                yield waiting.popleft().result()
        for future in waiting:
            yield future.result()


def filled_batch(rows: torch.Tensor, device: torch.device) -> torch.Tensor:
    """`rows` (up to BATCH, ...) with the last one repeated up to BATCH, for a device whose libraries choose a kernel by
    the shape of a batch: what comes out for an image then does not depend on how many came with it.

    CPUs work on what there is, as the numbers of earlier studies did."""
    missing = BATCH - len(rows)
    if device.type == "cpu" or not missing:
        return rows
    return torch.cat([rows, rows[-1:].expand(missing, *rows.shape[1:])])


def decoding_threads(device: torch.device) -> int:
    """A GPU is done with a batch long before one thread has decoded the next; on a CPU the model needs the cores."""
    return 1 if device.type == "cpu" else min(MOST_DECODING_THREADS, os.cpu_count() or 1)


@torch.inference_mode()
def embed_texts(
    encoder: LoadedEncoder,
    texts: Sequence[str],
    *,
    normalize: bool = True,
    progress: ProgressFunction = no_progress,
) -> np.ndarray:
    """Texts -> (texts, dimension); longer texts are cut to the model's context."""
    rows = []
    for start in range(0, len(texts), BATCH):
        tokens = encoder.tokenize(list(texts[start : start + BATCH]))
        filled = filled_batch(tokens, encoder.device).to(encoder.device)
        embedded = encoder.model.encode_text(filled, normalize=normalize)
        rows.append(embedded[: len(tokens)].float().cpu().numpy())
        progress(min(start + BATCH, len(texts)), len(texts))
    return np.concatenate(rows) if rows else np.zeros((0, 0), dtype=np.float32)


def class_texts(classes: Sequence[ClassLabel], templates: Sequence[str]) -> list[str]:
    """Every template filled with every class, class by class: (classes x templates,)."""
    return [filled(template, label.display_name) for label in classes for template in templates]


def class_vectors(
    encoder: LoadedEncoder, classes: Sequence[ClassLabel], templates: Sequence[str], *, normalize_each: bool
) -> np.ndarray:
    """One L2-normalised text vector per class, (classes, dimension): the mean over templates.

    `normalize_each=True` is the zero-shot head (paper section 4.3), False the CLIP filter's class vector (3.1)."""
    embedded = embed_texts(encoder, class_texts(classes, templates), normalize=normalize_each)
    means = embedded.reshape(len(classes), len(templates), -1).mean(axis=1)
    vectors = means / np.linalg.norm(means, axis=1, keepdims=True)
    return np.asarray(vectors, dtype=np.float32)
