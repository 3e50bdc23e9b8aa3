"""Images in memory: training images in their own size, evaluation images as the encoder sees them."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from torchvision.transforms.v2.functional import pil_to_tensor, to_pil_image
from touchstone_contracts.image_sets import ImageSet
from touchstone_contracts.problems import Invalid
from touchstone_encoders.decoding import decode_image
from touchstone_encoders.loading import LoadedTower
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.image_sets import read_images

from touchstone_trainer.augmentation import Boxes, crop_and_resize
from touchstone_trainer.memory import ByteCache

AHEAD = 2
"""Batches prepared while one trains."""


def tensor_bytes(tensor: torch.Tensor) -> int:
    return tensor.nbytes


DecodedImages = ByteCache[str, torch.Tensor]
"""By image id; arms, sizes, seeds and learning rates share their images."""


def decoded_images(budget: int) -> DecodedImages:
    return ByteCache(budget, tensor_bytes)


def decode_pixels(image: bytes) -> torch.Tensor:
    """uint8 (3, height, width). Raises UndecodableImage."""
    pixels: torch.Tensor = pil_to_tensor(decode_image(image))
    return pixels


@dataclass(frozen=True)
class TrainingImages:
    """Images in their own sizes, decoded where memory allows and encoded where not, and their classes."""

    images: Sequence[torch.Tensor | bytes]
    class_ids: np.ndarray
    heights: np.ndarray
    widths: np.ndarray
    weights: np.ndarray | None = None
    """float32 (images,), mean 1: how much each counts in the loss. None: all the same."""

    def __len__(self) -> int:
        return len(self.images)

    def crop(self, index: int, boxes: Boxes, image_size: int) -> torch.Tensor:
        image = self.images[index]
        pixels = decode_pixels(image) if isinstance(image, bytes) else image
        return crop_and_resize(pixels, boxes, index, image_size)


def load_training_images(
    artifacts: Artifacts, rows: pa.Table, image_set: ImageSet, decoded: DecodedImages, budget: int
) -> TrainingImages:
    """The images of manifest `rows`, decoded once and for all if they fit `budget` bytes together."""
    heights, widths = rows["height"].to_numpy(), rows["width"].to_numpy()
    images: Sequence[torch.Tensor | bytes]
    if 3 * int((heights.astype(np.int64) * widths).sum()) > budget:
        images = list(read_images(artifacts, rows, image_set.shards))
    else:
        images = _decode_missing(artifacts, rows, image_set, decoded)
    return TrainingImages(images, rows["class_id"].to_numpy(), heights, widths)


def _decode_missing(
    artifacts: Artifacts, rows: pa.Table, image_set: ImageSet, decoded: DecodedImages
) -> list[torch.Tensor]:
    ids = rows["id"].to_pylist()
    found = {image: pixels for image in ids if (pixels := decoded.get(image)) is not None}
    missing = np.array([position for position, image in enumerate(ids) if image not in found], dtype=np.int64)
    for position, data in zip(missing, read_images(artifacts, rows.take(missing), image_set.shards), strict=True):
        found[ids[position]] = decode_pixels(data)
        decoded.put(ids[position], found[ids[position]])
    return [found[image] for image in ids]


def cropped_batches(
    images: TrainingImages, batches: Sequence[np.ndarray], boxes: Boxes, *, image_size: int, threads: int
) -> Iterator[torch.Tensor]:
    """uint8 pixels (batch, 3, size, size) of the images at each batch's positions, prepared ahead by `threads`."""

    def make(batch: np.ndarray) -> torch.Tensor:
        return torch.stack([images.crop(int(index), boxes, image_size) for index in batch])

    with ThreadPoolExecutor(max_workers=threads) as pool:
        waiting: list[Future[torch.Tensor]] = [pool.submit(make, batch) for batch in batches[: AHEAD * threads]]
        try:
            for position in range(len(batches)):
                pixels = waiting.pop(0).result()
                following = position + AHEAD * threads
                if following < len(batches):
                    waiting.append(pool.submit(make, batches[following]))
                yield pixels
        finally:
            for future in waiting:
                future.cancel()


@dataclass(frozen=True)
class EvaluationImages:
    """A whole split as the encoder sees it: uint8 (images, 3, size, size) and class ids (images,), manifest order."""

    pixels: torch.Tensor
    class_ids: np.ndarray

    def __len__(self) -> int:
        return len(self.class_ids)


def load_evaluation_images(artifacts: Artifacts, image_set: ImageSet, encoder: LoadedTower) -> EvaluationImages:
    """Raises Invalid when the split is empty."""
    manifest = artifacts.get_table(image_set.manifest)
    if manifest.num_rows == 0:
        raise Invalid("a split of the target has no images", code="empty_split")
    shape = (manifest.num_rows, 3, encoder.image_size, encoder.image_size)
    pixels = torch.empty(shape, dtype=torch.uint8)
    for row, data in enumerate(read_images(artifacts, manifest, image_set.shards)):
        pixels[row] = evaluation_pixels(encoder, data)
    return EvaluationImages(pixels, manifest["class_id"].to_numpy())


def as_evaluated(training: TrainingImages, encoder: LoadedTower) -> EvaluationImages:
    """Training images in one view without augmentation."""
    images = (decode_image(image) if isinstance(image, bytes) else to_pil_image(image) for image in training.images)
    return EvaluationImages(torch.stack([_preprocessed(encoder, image) for image in images]), training.class_ids)


def evaluation_pixels(encoder: LoadedTower, image: bytes) -> torch.Tensor:
    """uint8 (3, size, size). Raises UndecodableImage."""
    return _preprocessed(encoder, decode_image(image))


def _preprocessed(encoder: LoadedTower, image: Image.Image) -> torch.Tensor:
    """The encoder's own preprocessing with its normalisation undone: exact, and a quarter of the memory."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (encoder.mean, encoder.std))
    return (255 * (encoder.preprocess(image) * std + mean)).round().to(torch.uint8)


def require_classes(class_ids: np.ndarray, classes: int, what: str) -> None:
    """Raises Invalid when a label lies outside the target."""
    outside = np.unique(class_ids[(class_ids < 0) | (class_ids >= classes)])
    if len(outside):
        raise Invalid(
            f"{what} has class ids outside the target's {classes} classes: {outside[:10].tolist()}",
            code="class_out_of_range",
        )
