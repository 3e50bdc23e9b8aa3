"""What a vector index promises. Rows are positions in the upstream: its shards' manifests, concatenated."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple, Protocol

import numpy as np
from touchstone_contracts.problems import Transient
from touchstone_runtime.serving import ProgressFunction, no_progress

VectorName = Literal["image", "text"]


class IndexUnavailable(Transient):
    code = "vector_index"
    title = "Vector index unavailable"


@dataclass(frozen=True)
class IndexRows:
    """The rows of a shard: embeddings of shape (rows, dimension). No search finds a row that is zero or not finite."""

    image: np.ndarray
    text: np.ndarray


@dataclass(frozen=True)
class IndexShard:
    """A part of an upstream that is written once, whatever upstreams it becomes part of."""

    name: str
    """points.NAME_DIGITS hexadecimal digits of its content's identity."""
    count: int
    load: Callable[[], IndexRows]
    """Reads its rows again, from the object store."""


@dataclass(frozen=True)
class Collection:
    """What is searched together: the shards of an upstream, each once, in their order."""

    name: str
    dimension: int
    shards: tuple[IndexShard, ...]

    @property
    def count(self) -> int:
        return sum(shard.count for shard in self.shards)

    @cached_property
    def first_rows(self) -> dict[str, int]:
        """By the name of a shard."""
        starts, row = {}, 0
        for shard in self.shards:
            starts[shard.name] = row
            row += shard.count
        return starts


class Hit(NamedTuple):
    row: int
    score: float
    """Cosine, rounded to ties.DECIMALS."""


class VectorIndex(Protocol):
    """A cache of embeddings by shard. Adapters raise IndexUnavailable when it cannot be reached."""

    exact: bool
    """Whether searches return the true nearest neighbours, and so the same ones every time."""

    def ensure(self, collection: Collection, progress: ProgressFunction = no_progress) -> int:
        """Makes the collection complete, loading those of its shards alone that are not. Returns the rows written."""

    def count(self, collection: Collection) -> int:
        """Rows of its shards that are present."""

    def search(
        self,
        collection: Collection,
        vector: VectorName,
        queries: np.ndarray,
        k: int,
    ) -> Iterator[list[Hit]]:
        """For each row of `queries` (queries, dimension) the k nearest, best first, equal scores by row.

        Found as they are asked for: a target's hits are too many to exist at once."""

    def vectors(self, collection: Collection, vector: VectorName, rows: Sequence[int]) -> np.ndarray:
        """L2-normalised float32 (rows, dimension), in the order of `rows`; zeros where there is no usable embedding."""

    def rest(self) -> None:
        """Gives back what only searches need, when none is to follow soon; the next one takes it again."""

    def close(self) -> None:
        """Releases connections and locks."""


def load_rows(shard: IndexShard) -> IndexRows:
    """Raises ValueError: a loader that yields fewer rows would make every later search load the shard again."""
    rows = shard.load()
    if len(rows.image) != shard.count:
        raise ValueError(f"shard {shard.name} needs {shard.count} rows, its loader gave {len(rows.image)}")
    return rows
