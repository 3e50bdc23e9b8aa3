"""The mini encoders of the repository with images and captions that they were made for."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from torchvision.transforms import Compose, Normalize
from touchstone_contracts.steps import ModelRef
from touchstone_encoders.embedding import embed_images, embed_texts
from touchstone_encoders.loading import EncoderCache, LoadedEncoder
from touchstone_runtime.digests import folder_digest
from touchstone_runtime.library import Library

MINIVERSE = Path(__file__).parents[2] / "miniverse"
IMAGES = 160


@dataclass(frozen=True)
class Pictures:
    """IMAGES distinct images with distinct captions."""

    images: tuple[bytes, ...]
    captions: tuple[str, ...]


@cache
def pictures() -> Pictures:
    rows = (
        pq.read_table(MINIVERSE / "data/upstream-0003.parquet", columns=["image", "caption"]).slice(0, 600).to_pylist()
    )
    distinct = {row["caption"]: row["image"] for row in rows}
    by_image = {image: caption for caption, image in distinct.items()}
    assert len(by_image) >= IMAGES
    chosen = list(by_image.items())[:IMAGES]
    return Pictures(tuple(image for image, _ in chosen), tuple(caption for _, caption in chosen))


@cache
def mini_encoder(name: str = "mini-clip") -> LoadedEncoder:
    torch.set_num_threads(1)
    digest = folder_digest(MINIVERSE / "models" / name)
    cached = EncoderCache(Library(MINIVERSE), torch.device("cpu"))
    return cached.get(ModelRef(model=f"library:models/{name}", digest=digest))


@cache
def image_rows(name: str = "mini-clip") -> np.ndarray:
    """(IMAGES, d), of `pictures`."""
    return embed_images(mini_encoder(name), pictures().images)


@cache
def caption_rows(name: str = "mini-clip") -> np.ndarray:
    return embed_texts(mini_encoder(name), pictures().captions)


def redrawn_rows(change: Callable[[Image.Image], Image.Image], rows: Sequence[int]) -> np.ndarray:
    """As `image_rows`, where the pictures of `rows` were changed before they were embedded."""
    changed = []
    for row in rows:
        buffer = io.BytesIO()
        change(Image.open(io.BytesIO(pictures().images[row])).convert("RGB")).save(buffer, "PNG")
        changed.append(buffer.getvalue())
    found = image_rows().copy()
    found[list(rows)] = embed_images(mini_encoder(), changed)
    return found


def rows_normalised_by(mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """(IMAGES, d): with other pixel statistics than mini-clip's."""
    encoder = mini_encoder()
    preprocess = Compose([*encoder.preprocess.transforms[:-1], Normalize(mean, std)])  # type: ignore[attr-defined]
    return embed_images(replace(encoder, preprocess=preprocess), pictures().images)


def as_jpeg(quality: int, side: int | None = None) -> Callable[[Image.Image], Image.Image]:
    def change(image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        (image if side is None else image.resize((side, side), Image.Resampling.BICUBIC)).save(
            buffer, "JPEG", quality=quality
        )
        return Image.open(buffer).convert("RGB")

    return change
