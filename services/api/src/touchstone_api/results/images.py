"""The images of an arm: pages of thumbnails and single images, from the manifest of its curated pool."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from touchstone_contracts.catalogue import ClassLabel
from touchstone_contracts.experiment import ExperimentSpec
from touchstone_contracts.problems import NotFound
from touchstone_contracts.views import ImageView
from touchstone_planning.arms.planner import planner_of
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.finished import IMAGE_COLUMNS

# Importing the api stays small: pyarrow comes with the first table.
if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Selection:
    """Which images of a pool to show; None: all."""

    class_id: int | None = None
    kept: bool | None = None

    def rows(self, pool: "pa.Table") -> np.ndarray:
        """Row numbers, in the manifest's order."""
        wanted = np.ones(pool.num_rows, dtype=bool)
        if self.class_id is not None:
            wanted &= pool["class_id"].to_numpy() == self.class_id
        if self.kept is not None:
            wanted &= pool["kept"].to_numpy(zero_copy_only=False) == self.kept
        return np.flatnonzero(wanted)


def parts_of(spec: ExperimentSpec, arm: str) -> tuple[str, ...]:
    """The arms a mixture is made of, in the order of the manifest's column `part`; empty for any other arm."""
    return next((planner_of(known).parts(known) for known in spec.arms if known.name == arm), ())


def image_views(
    pool: "pa.Table",
    rows: Sequence[int],
    classes: Sequence[ClassLabel],
    parts: Sequence[str],
    url_of: Callable[[str], str],
) -> Iterator[ImageView]:
    """`parts`: the arms of a mixture; `url_of` an image id: where its bytes are served."""
    import pyarrow as pa

    chosen = pool.take(pa.array(rows, pa.int64())).select(IMAGE_COLUMNS)
    for row in chosen.to_pylist():
        yield ImageView(
            id=row["id"],
            class_id=row["class_id"],
            class_name=classes[row["class_id"]].display_name,
            url=url_of(row["id"]),
            caption=row["caption"],
            kept=row["kept"],
            drop_reason=row["drop_reason"],
            score=known_number(row["score"]),
            nearest_test_id=row["nearest_test_id"] or None,
            nearest_test_cosine=known_number(row["nearest_test_cosine"]),
            found_by=row["found_by"],
            query=row["query"],
            part=parts[row["part"]] if row["part"] >= 0 else None,
        )


def known_number(value: Any) -> float | None:
    return None if value is None or math.isnan(value) else float(value)


def read_image(artifacts: Artifacts, pool: "pa.Table", image: str) -> bytes:
    """By range from its shard. Raises NotFound, or MissingObject when the shard is gone or has other bytes there."""
    import pyarrow.compute as pc

    row = pc.index(pool["id"], image).as_py()
    if row < 0:
        raise NotFound(f"this arm has no image {image!r}")
    shard, offset, length = (pool[column][row].as_py() for column in ("shard", "offset", "length"))
    return artifacts.get_image(image, shard, offset, length)
