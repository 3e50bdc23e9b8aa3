"""Embeddings: images and texts in, L2-normalised float32 arrays out."""

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from torch.nn import functional
from touchstone_contracts.catalogue import ClassLabel, filled
from touchstone_contracts.problems import Invalid
from touchstone_runtime.decoding import decode_image
from touchstone_runtime.prefetch import made_ahead
from touchstone_runtime.serving import ProgressFunction, no_progress

from touchstone_encoders.loading import LoadedEncoder, LoadedTower

BATCH = 64
MOST_DECODING_THREADS = 8


def embed_images(encoder: LoadedTower, images: Sequence[bytes], progress: ProgressFunction = no_progress) -> np.ndarray:
    """Encoded images -> (images, dimension). Raises UndecodableImage."""
    found, done = np.zeros((0, 0), dtype=np.float32), 0
    for rows in image_batches(encoder, images):
        found = found if done else np.empty((len(images), rows.shape[1]), dtype=np.float32)
        found[done : done + len(rows)] = rows
        done += len(rows)
        progress(done, len(images))
    return found


def image_batches(encoder: LoadedTower, images: Iterable[bytes]) -> Iterator[np.ndarray]:
    """As embed_images, BATCH images at a time, which are read when their turn comes: memory holds a few batches."""
    for count, pixels in _pixel_batches(encoder, images):
        # Around the arithmetic alone: a generator would leave the mode on in whoever takes from it.
        with torch.inference_mode():
            rows = functional.normalize(encoder.visual(pixels)[:count], dim=-1).float().cpu().numpy()
        yield rows


def _pixel_batches(encoder: LoadedTower, images: Iterable[bytes]) -> Iterator[tuple[int, torch.Tensor]]:
    """How many images there are in each (batch, 3, size, size), in order; the next batches are decoded while the model
    works on this one."""

    def prepare(batch: list[bytes]) -> tuple[int, torch.Tensor]:
        pixels = torch.stack([encoder.preprocess(decode_image(data)) for data in batch])
        pixels = filled_batch(pixels, encoder.device)
        # Convolutions on CPUs run half as fast again on this layout; transformers do not care.
        return len(batch), pixels.to(encoder.device, memory_format=torch.channels_last)

    stream, threads = iter(images), decoding_threads(encoder.device)
    batches = iter(lambda: list(islice(stream, BATCH)), [])
    return made_ahead(prepare, batches, threads=threads, ahead=threads)


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


def embed_texts(
    encoder: LoadedEncoder,
    texts: Sequence[str],
    *,
    normalize: bool = True,
    progress: ProgressFunction = no_progress,
) -> np.ndarray:
    """Texts -> (texts, dimension); longer texts are cut to the model's context."""
    rows = list(text_batches(encoder, texts, normalize=normalize, progress=progress))
    return np.concatenate(rows) if rows else np.zeros((0, 0), dtype=np.float32)


def text_batches(
    encoder: LoadedEncoder,
    texts: Sequence[str],
    done: int = 0,
    *,
    normalize: bool = True,
    progress: ProgressFunction = no_progress,
) -> Iterator[np.ndarray]:
    """As embed_texts, BATCH texts at a time, without the first `done`, which is a multiple of BATCH or all."""
    for start in range(done, len(texts), BATCH):
        tokens = encoder.tokenize(list(texts[start : start + BATCH]))
        filled = filled_batch(tokens, encoder.device).to(encoder.device)
        with torch.inference_mode():
            rows = encoder.model.encode_text(filled, normalize=normalize)[: len(tokens)].float().cpu().numpy()
        progress(min(start + BATCH, len(texts)), len(texts))
        yield rows


def class_texts(classes: Sequence[ClassLabel], templates: Sequence[str]) -> list[str]:
    """Every template filled with every class, class by class: (classes x templates,)."""
    return [filled(template, label.display_name) for label in classes for template in templates]


def class_vectors(
    encoder: LoadedEncoder, classes: Sequence[ClassLabel], templates: Sequence[str], *, normalize_each: bool
) -> np.ndarray:
    """One L2-normalised text vector per class, (classes, dimension): the mean over templates. Raises Invalid where two
    classes would get the same one, and where a class would get none.

    `normalize_each=True` is the zero-shot head (paper section 4.3), False the CLIP filter's class vector (3.1)."""
    require_told_apart(encoder, classes, templates)
    embedded = embed_texts(encoder, class_texts(classes, templates), normalize=normalize_each)
    means = embedded.reshape(len(classes), len(templates), -1).mean(axis=1)
    require_finite(means, [label.display_name for label in classes])
    vectors = means / np.linalg.norm(means, axis=1, keepdims=True)
    return np.asarray(vectors, dtype=np.float32)


def require_finite(vectors: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """`vectors` (texts, dimension). Raises Invalid where that of a text is zero or not finite: nothing can be compared
    with it."""
    usable = np.isfinite(vectors).all(axis=1) & (vectors != 0).any(axis=1)
    if not usable.all():
        raise Invalid(
            f"the text model has no usable embedding of {texts[int(np.flatnonzero(~usable)[0])]!r}: it is zero or not "
            "finite. Check the weights of the encoder",
            code="no_usable_embedding",
        )
    return vectors


def require_told_apart(encoder: LoadedEncoder, classes: Sequence[ClassLabel], templates: Sequence[str]) -> None:
    """Raises Invalid where the texts of two classes are the same to the model, though their names differ: beyond the
    length that it reads, or in what its tokenizer makes alike. Classes of one name are meant to be alike."""
    alike: dict[bytes, list[ClassLabel]] = {b"": list(classes)}
    for template in templates:
        alike = _still_alike(encoder, [some for some in alike.values() if len(some) > 1], template)
    for some in alike.values():
        for label in some[1:]:
            if label.display_name != some[0].display_name:
                raise Invalid(
                    f"to the text model, class {some[0].id} ({some[0].display_name!r}) and class {label.id} "
                    f"({label.display_name!r}) are one: give one of them another display name, or a shorter one",
                    code="classes_alike",
                )


def _still_alike(
    encoder: LoadedEncoder, groups: Sequence[Sequence[ClassLabel]], template: str
) -> dict[bytes, list[ClassLabel]]:
    """Classes of each group by what the tokenizer makes of the template filled with them."""
    found: dict[bytes, list[ClassLabel]] = {}
    for number, group in enumerate(groups):
        tokens = encoder.tokenize([filled(template, label.display_name) for label in group])
        for label, row in zip(group, tokens.cpu().numpy(), strict=True):
            found.setdefault(b"%d " % number + row.tobytes(), []).append(label)
    return found
