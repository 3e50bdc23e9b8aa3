"""Which images of a curated pool make up a training set: one order per seed, and every size is a prefix of it.

Where an image stands in that order depends on the seed and the image, not on what else is in the pool: pools that have
images in common, or perturbations of the same images, draw the same ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from touchstone_contracts.arms.mixture import Mixing
from touchstone_contracts.curation import Curation
from touchstone_contracts.identity import identity
from touchstone_contracts.problems import Invalid

DRAWN_FROM = ("id", "class_id", "parent", "score", "kept", "part")
"""The columns of a curated pool's manifest that decide what is drawn."""
LARGEST_SIZE = 1_000_000_000
"""Where the search for the largest size of a mixture ends; counts alone would go on for ever."""


@dataclass(frozen=True)
class Pool:
    """The kept images of an arm. Equal lengths; `rows` are positions in the manifest."""

    rows: np.ndarray
    ids: Sequence[str]
    origins: Sequence[str]
    """The image that each was perturbed from, of others the image itself. It decides the position in the order."""
    class_ids: np.ndarray
    scores: np.ndarray
    """CLIP scores, NaN where unknown."""
    parts: np.ndarray
    """Which pool of a mixture each image is from, -1 outside one."""

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, positions: np.ndarray) -> "Pool":
        return Pool(
            rows=self.rows[positions],
            ids=[self.ids[position] for position in positions.tolist()],
            origins=[self.origins[position] for position in positions.tolist()],
            class_ids=self.class_ids[positions],
            scores=self.scores[positions],
            parts=self.parts[positions],
        )


def kept_pool(manifest: pa.Table) -> Pool:
    """The rows that survived curation, sorted by (class, id), so that the manifest's row order decides nothing."""
    kept = np.flatnonzero(manifest["kept"].to_numpy())
    rows = manifest.take(kept)
    order = pc.sort_indices(rows, sort_keys=[("class_id", "ascending"), ("id", "ascending")]).to_numpy()
    rows = rows.take(order)
    ids = rows["id"].to_pylist()
    return Pool(
        rows=kept[order],
        ids=ids,
        origins=[parent or image for parent, image in zip(rows["parent"].to_pylist(), ids, strict=True)],
        class_ids=rows["class_id"].to_numpy(),
        scores=rows["score"].to_numpy(),
        parts=rows["part"].to_numpy(),
    )


def largest_size(pool: Pool, mixing: Mixing | None) -> int:
    """The pool's images; of a mixture the largest size at which no part is too small."""
    if mixing is None:
        return len(pool)
    available = [int((pool.parts == part).sum()) for part in range(len(mixing.amounts))]
    return mixing.largest_size(available, limit=LARGEST_SIZE)


def draw_training_set(pool: Pool, size: int, seed: int, rules: Curation, mixing: Mixing | None = None) -> np.ndarray:
    """Positions in `pool` of the images to train on at `size`, in order. Raises Invalid beyond the pool.

    Of a mixture each part gives the first images of its own order, which is the order of that arm alone: so mixture
    and arm share as many images as they can, and their difference is less the luck of the draw."""
    if size > (largest := largest_size(pool, mixing)):
        raise Invalid(f"the pool is enough for size {largest}, asked was {size}", code="pool_exhausted")
    if mixing is None:
        return training_order(pool, seed, rules)[:size]
    parts = [np.flatnonzero(pool.parts == part) for part in range(len(mixing.amounts))]
    orders = [positions[training_order(pool.take(positions), seed, rules)] for positions in parts]
    return np.concatenate([order[:quota] for order, quota in zip(orders, mixing.quotas(size), strict=True)])


def training_order(pool: Pool, seed: int, rules: Curation) -> np.ndarray:
    """All positions in the order in which growing sizes take them.

    `uniform`: one order over all images (the paper, section 1.6). `stratified`: classes in turn, each class in that
    order, until all are used up; the turn itself is drawn, so that no class gains by a low id."""
    order = _best_first(pool) if rules.ranking == "score" else _shuffled(pool, seed)
    if rules.balance == "uniform":
        return order
    classes = sorted(np.unique(pool.class_ids).tolist(), key=lambda label: _random_number(seed, f"class {label}"))
    class_ids = pool.class_ids[order]
    return _in_turn([order[class_ids == label] for label in classes])


def _best_first(pool: Pool) -> np.ndarray:
    """Equal scores keep the pool's order by id; an unknown score comes last."""
    return np.argsort(-pool.scores, kind="stable")


def _shuffled(pool: Pool, seed: int) -> np.ndarray:
    """In random order; several perturbations of one image stand together, by id."""
    labelled = zip(pool.class_ids.tolist(), pool.origins, strict=True)
    # With the class: an image found for two of them is two draws.
    numbers = [_random_number(seed, f"class {label} image {origin}") for label, origin in labelled]
    return np.argsort(np.array(numbers, dtype=np.uint64), kind="stable")


def _random_number(seed: int, what: str) -> int:
    """Uniform over 64 bits; different seeds give independent numbers."""
    return int.from_bytes(blake2b(what.encode(), digest_size=8, key=str(seed).encode()).digest())


def _in_turn(queues: Sequence[np.ndarray]) -> np.ndarray:
    if not queues:
        return np.zeros(0, dtype=np.int64)
    rounds = np.concatenate([np.arange(len(queue)) for queue in queues])
    turns = np.concatenate([np.full(len(queue), turn) for turn, queue in enumerate(queues)])
    return np.concatenate(queues)[np.lexsort((turns, rounds))]


def training_set_digest(pool: Pool, positions: np.ndarray) -> str:
    """Names the ordered images and their labels: runs with the same digest trained on the same data."""
    return identity([[pool.ids[position], int(pool.class_ids[position])] for position in positions])
