"""Features with labels for probes: the miniverse's own, and random ones of the paper's shape."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from touchstone_contracts.steps import ModelRef
from touchstone_encoders.embedding import embed_images
from touchstone_encoders.loading import load_encoder
from touchstone_runtime.digests import folder_digest
from touchstone_runtime.library import Library

MINIVERSE = Path(__file__).parents[2] / "miniverse"


@dataclass(frozen=True)
class Split:
    features: np.ndarray
    """L2-normalised float32 (images, dimension)."""
    labels: np.ndarray
    """int64 (images,)"""

    @property
    def tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(self.features), torch.from_numpy(self.labels)


@dataclass(frozen=True)
class Problem:
    train: Split
    validation: Split
    test: Split
    classes: int


def miniverse_problem(target: str) -> Problem:
    """Embeds a target's images with mini-clip: half a minute."""
    location = "library:models/mini-clip"
    ref = ModelRef(model=location, digest=folder_digest(MINIVERSE / "models" / "mini-clip"))
    encoder = load_encoder(ref, Library(MINIVERSE), torch.device("cpu"))
    splits = []
    for name in ("train", "validation", "test"):
        table = pq.read_table(MINIVERSE / "data" / "targets" / target / f"{name}.parquet")
        features = embed_images(encoder, table["image"].to_pylist())
        splits.append(Split(features, table["class_id"].to_numpy().astype(np.int64)))
    train, validation, test = splits
    return Problem(train, validation, test, classes=int(train.labels.max()) + 1)


def paper_shaped_problem(classes: int = 100, dimension: int = 512, images: int = 3000) -> Problem:
    """FGVC-Aircraft's classes in ViT-B-16's dimension; a large common mean, a decaying spectrum, as encoders have."""
    rng = np.random.default_rng(0)
    spectrum = np.arange(1, dimension + 1) ** -0.5
    spectrum /= np.sqrt((spectrum**2).mean())
    mean, centres = rng.normal(size=dimension), rng.normal(size=(classes, dimension))

    def draw(count: int) -> Split:
        labels = np.arange(count) % classes
        features = 1.5 * mean + (0.5 * centres[labels] + rng.normal(size=(count, dimension))) * spectrum
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        return Split(features.astype(np.float32), labels)

    return Problem(draw(images), draw(1000), draw(2000), classes)
