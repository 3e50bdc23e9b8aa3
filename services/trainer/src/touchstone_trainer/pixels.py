"""Images as they are trained on and evaluated: decoded in memory up to a number of bytes, beyond it when they are
needed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from torchvision.transforms.v2.functional import pil_to_tensor, to_pil_image
from touchstone_contracts.image_sets import ImageSet
from touchstone_contracts.problems import Invalid
from touchstone_encoders.loading import LoadedTower
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.caches import ByteCache
from touchstone_runtime.decoding import decode_image
from touchstone_runtime.image_sets import LOCATION_COLUMNS, in_storage_order, read_images
from touchstone_runtime.training_sets import DRAWN_FROM

from touchstone_trainer.augmentation import Boxes, crop_and_resize
from touchstone_trainer.images_on_disk import ImagesOnDisk
from touchstone_trainer.prefetch import IN_ONE_THREAD, Loader

PREPARED = 128
"""Evaluation images at a time."""
TRAINED_ON = (*LOCATION_COLUMNS, "class_id", "width", "height")
"""The columns of a manifest that training needs."""
POOL_COLUMNS = tuple(dict.fromkeys((*TRAINED_ON, *DRAWN_FROM)))
"""Of a curated pool's manifest, what is drawn from and trained on."""


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


class Images(Protocol):
    """Decoded, uint8 (3, height, width), or encoded; a list of either is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> torch.Tensor | bytes: ...


@dataclass(frozen=True)
class TrainingImages:
    """Images in their own sizes, and their classes."""

    images: Images
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
    artifacts: Artifacts, rows: pa.Table, image_set: ImageSet, decoded: DecodedImages
) -> TrainingImages:
    """The images of manifest `rows`, decoded once and for all if they fit into the cache together, else encoded on disk
    and decoded anew in every epoch."""
    heights, widths = rows["height"].to_numpy(), rows["width"].to_numpy()
    fits = 3 * int((heights.astype(np.int64) * widths).sum()) <= decoded.budget
    images = _decode_missing(artifacts, rows, image_set, decoded) if fits else _on_disk(artifacts, rows, image_set)
    return TrainingImages(images, rows["class_id"].to_numpy(), heights, widths)


def _decode_missing(artifacts: Artifacts, rows: pa.Table, image_set: ImageSet, decoded: DecodedImages) -> Images:
    ids = rows["id"].to_pylist()
    found = {image: pixels for image in ids if (pixels := decoded.get(image)) is not None}
    missing = rows.take(np.array([row for row, image in enumerate(ids) if image not in found], dtype=np.int64))
    missing = missing.take(in_storage_order(missing))
    encoded = read_images(artifacts, missing, image_set.shards)
    for image, data in zip(missing["id"].to_pylist(), encoded, strict=True):
        found[image] = decode_pixels(data)
        decoded.put(image, found[image])
    return [found[image] for image in ids]


def _on_disk(artifacts: Artifacts, rows: pa.Table, image_set: ImageSet) -> ImagesOnDisk:
    order = in_storage_order(rows)
    return ImagesOnDisk(read_images(artifacts, rows.take(order), image_set.shards), order)


def cropped_batches(
    images: TrainingImages, batches: Sequence[np.ndarray], boxes: Boxes, *, image_size: int, loader: Loader
) -> Iterator[torch.Tensor]:
    """uint8 pixels (batch, 3, size, size) of the images at each batch's positions, prepared ahead."""

    def make(batch: np.ndarray) -> torch.Tensor:
        return torch.stack([images.crop(int(index), boxes, image_size) for index in batch])

    return loader.ahead(make, batches)


class Split(Protocol):
    """Images as the encoder sees them, and their class ids (images,)."""

    @property
    def class_ids(self) -> np.ndarray: ...

    def __len__(self) -> int: ...

    def batches(self, size: int) -> Iterator[torch.Tensor]:
        """uint8 (size, 3, image size, image size) in order; the last may be smaller."""


@dataclass(frozen=True)
class EvaluationImages:
    """All of them in memory: uint8 (images, 3, size, size)."""

    pixels: torch.Tensor
    class_ids: np.ndarray

    def __len__(self) -> int:
        return len(self.class_ids)

    def batches(self, size: int) -> Iterator[torch.Tensor]:
        yield from self.pixels.split(size)


@dataclass(frozen=True)
class StreamedImages:
    """In one view without augmentation, prepared anew whenever they are needed."""

    images: Images
    class_ids: np.ndarray
    tower: LoadedTower
    loader: Loader = IN_ONE_THREAD

    def __len__(self) -> int:
        return len(self.class_ids)

    def batches(self, size: int) -> Iterator[torch.Tensor]:
        positions = np.arange(len(self))
        return self.loader.ahead(
            self._prepared, [positions[start : start + size] for start in range(0, len(self), size)]
        )

    def _prepared(self, positions: np.ndarray) -> torch.Tensor:
        return torch.stack([evaluation_pixels(self.tower, self.images[position]) for position in positions.tolist()])

    def held(self) -> EvaluationImages:
        return _held(self.batches(PREPARED), self.class_ids, self.tower)


def as_evaluated(training: TrainingImages, tower: LoadedTower, loader: Loader) -> StreamedImages:
    """Training images in one view without augmentation."""
    return StreamedImages(training.images, training.class_ids, tower, loader)


def load_evaluation_images(
    artifacts: Artifacts, image_set: ImageSet, tower: LoadedTower, loader: Loader, budget: int
) -> Split:
    """In memory if they fit into `budget` bytes, else encoded on disk. Raises Invalid when the split is empty."""
    rows = artifacts.get_table(image_set.manifest, (*LOCATION_COLUMNS, "class_id"))
    if rows.num_rows == 0:
        raise Invalid("a split of the target has no images", code="empty_split")
    class_ids = rows["class_id"].to_numpy()
    if 3 * tower.image_size**2 * rows.num_rows > budget:
        return StreamedImages(_on_disk(artifacts, rows, image_set), class_ids, tower, loader)
    encoded = read_images(artifacts, rows, image_set.shards)
    return _held((evaluation_pixels(tower, image)[None] for image in encoded), class_ids, tower)


def _held(batches: Iterator[torch.Tensor], class_ids: np.ndarray, tower: LoadedTower) -> EvaluationImages:
    pixels = torch.empty((len(class_ids), 3, tower.image_size, tower.image_size), dtype=torch.uint8)
    done = 0
    for batch in batches:
        pixels[done : done + len(batch)] = batch
        done += len(batch)
    return EvaluationImages(pixels, class_ids)


def evaluation_pixels(tower: LoadedTower, image: torch.Tensor | bytes) -> torch.Tensor:
    """uint8 (3, size, size): the encoder's own preprocessing with its normalisation undone, which is exact, and a
    quarter of the memory. Raises UndecodableImage."""
    picture: Image.Image = decode_image(image) if isinstance(image, bytes) else to_pil_image(image)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (tower.mean, tower.std))
    return (255 * (tower.preprocess(picture) * std + mean)).round().to(torch.uint8)


def require_classes(class_ids: np.ndarray, classes: int, what: str) -> None:
    """Raises Invalid when a label lies outside the target."""
    outside = np.unique(class_ids[(class_ids < 0) | (class_ids >= classes)])
    if len(outside):
        raise Invalid(
            f"{what} has class ids outside the target's {classes} classes: {outside[:10].tolist()}",
            code="class_out_of_range",
        )
