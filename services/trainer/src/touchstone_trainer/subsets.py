"""Which images of a curated pool make up a training set: one order per seed, and every size is a prefix of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from touchstone_contracts.arms.mixture import Mixing
from touchstone_contracts.curation import Curation
from touchstone_contracts.identity import identity
from touchstone_contracts.problems import Invalid
from touchstone_runtime.randomness import rng_for

LARGEST_SIZE = 1_000_000_000
"""Where the search for the largest size of a mixture ends; counts alone would go on for ever."""


@dataclass(frozen=True)
class Pool:
    """The kept images of an arm. Equal lengths; `rows` are positions in the manifest."""

    rows: np.ndarray
    ids: Sequence[str]
    class_ids: np.ndarray
    scores: np.ndarray
    """CLIP scores, NaN where unknown."""
    parts: np.ndarray
    """Which pool of a mixture each image is from, -1 outside one."""

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, positions: np.ndarray) -> "Pool":
        ids = [self.ids[position] for position in positions.tolist()]
        return Pool(self.rows[positions], ids, self.class_ids[positions], self.scores[positions], self.parts[positions])


def kept_pool(manifest: pa.Table) -> Pool:
    """The rows that survived curation, sorted by (class, id), so that the manifest's row order decides nothing."""
    kept = np.flatnonzero(manifest["kept"].to_numpy())
    rows = manifest.take(kept)
    order = pc.sort_indices(rows, sort_keys=[("class_id", "ascending"), ("id", "ascending")]).to_numpy()
    rows = rows.take(order)
    return Pool(
        rows=kept[order],
        ids=rows["id"].to_pylist(),
        class_ids=rows["class_id"].to_numpy(),
        scores=rows["score"].to_numpy(),
        parts=rows["part"].to_numpy() if "part" in rows.column_names else np.full(len(kept), -1),
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

    `uniform`: one order over all images (the paper, section 1.6). `stratified`: classes in turn, each class in its own
    order, until all are used up; the turn itself is shuffled, so that no class gains by a low id."""
    rank = _best_first(pool) if rules.ranking == "score" else _shuffled
    if rules.balance == "uniform":
        return rank(np.arange(len(pool)), seed, "all")
    classes = rng_for(seed, "class order").permutation(np.unique(pool.class_ids))
    queues = [rank(np.flatnonzero(pool.class_ids == label), seed, int(label)) for label in classes]
    return _in_turn(queues)


Ranking = Callable[[np.ndarray, int, object], np.ndarray]


def _shuffled(positions: np.ndarray, seed: int, group: object) -> np.ndarray:
    return rng_for(seed, "subset", group).permutation(positions)


def _best_first(pool: Pool) -> Ranking:
    def rank(positions: np.ndarray, seed: int, group: object) -> np.ndarray:
        # Stable: equal scores keep the pool's order by id; an unknown score comes last.
        return positions[np.argsort(-pool.scores[positions], kind="stable")]

    return rank


def _in_turn(queues: Sequence[np.ndarray]) -> np.ndarray:
    if not queues:
        return np.zeros(0, dtype=np.int64)
    rounds = np.concatenate([np.arange(len(queue)) for queue in queues])
    turns = np.concatenate([np.full(len(queue), turn) for turn, queue in enumerate(queues)])
    return np.concatenate(queues)[np.lexsort((turns, rounds))]


def training_set_digest(pool: Pool, positions: np.ndarray) -> str:
    """Names the ordered images and their labels: runs with the same digest trained on the same data."""
    return identity([[pool.ids[position], int(pool.class_ids[position])] for position in positions])
