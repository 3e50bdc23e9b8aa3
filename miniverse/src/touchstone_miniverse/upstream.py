"""The upstream as arrays, and the fixed part of it that a model may learn from."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from touchstone_miniverse.sources import SOURCES_BY_NAME, Kind


@dataclass(frozen=True)
class Pairs:
    """Images (n, 64, 64, 3) uint8, their captions, keys and kinds, and the key of the first picture of each drawing."""

    images: NDArray[np.uint8]
    captions: list[str]
    keys: list[str]
    kinds: list[Kind]
    drawings: list[str]

    def __len__(self) -> int:
        return len(self.captions)

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> "Pairs":
        """The given rows, in the given order."""
        return Pairs(
            self.images[rows],
            [self.captions[row] for row in rows],
            [self.keys[row] for row in rows],
            [self.kinds[row] for row in rows],
            [self.drawings[row] for row in rows],
        )


def read_upstream(data: Path) -> Pairs:
    """All upstream pairs in shard order. Raises FileNotFoundError where the folder has no shards."""
    shards = sorted(data.glob("upstream-*.parquet"))
    if not shards:
        raise FileNotFoundError(f"no upstream-*.parquet in {data}")
    rows = [row for shard in shards for row in pq.read_table(shard).to_pylist()]
    return Pairs(
        np.stack([decode(row["image"]) for row in rows]),
        [row["caption"] for row in rows],
        [row["key"] for row in rows],
        [SOURCES_BY_NAME[row["source"]].kind for row in rows],
        [row["group"] for row in rows],
    )


def read_split(data: Path, target: str, split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images (n, 64, 64, 3) and class ids (n,) of one split of one target."""
    rows = pq.read_table(data / "targets" / target / f"{split}.parquet").to_pylist()
    return np.stack([decode(row["image"]) for row in rows]), np.array([row["class_id"] for row in rows])


def decode(content: bytes) -> NDArray[np.uint8]:
    """(64, 64, 3) RGB."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def fixed_fraction(pairs: Pairs, fraction: float, purpose: str) -> Pairs:
    """The pairs whose sha256 of `<purpose>:<key>` falls into the first `fraction` of its range."""
    limit = int(fraction * 2**64)
    chosen = [row for row, key in enumerate(pairs.keys) if _hash64(f"{purpose}:{key}") < limit]
    return pairs.take(np.array(chosen))


def _hash64(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
