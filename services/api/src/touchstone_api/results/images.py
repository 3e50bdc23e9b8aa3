"""The images of an arm: pages of thumbnails and single images, from the manifest of its curated pool."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlencode

import numpy as np
from touchstone_contracts.catalogue import ClassLabel
from touchstone_contracts.curation import drop_words
from touchstone_contracts.experiment import ExperimentSpec
from touchstone_contracts.problems import Invalid, NotFound
from touchstone_contracts.suggestions import unknown
from touchstone_contracts.views import ImageView
from touchstone_planning.arms.planner import planner_of
from touchstone_runtime.artifacts import Artifacts

# Importing the api stays small: pyarrow comes with the first table.
if TYPE_CHECKING:
    import pyarrow as pa

OUTSIDE_CURATION = {"nsfw": "Flagged as unsafe", "taken_down": "Taken down"}
"""Why a row of a pool may be dropped before curation sees it, with words."""
_KEPT = {"": None, "all": None, "kept": True, "dropped": False}
_CLASS_ID = re.compile("[0-9]{1,9}")
_SHOWN = (
    "id", "class_id", "caption", "kept", "drop_reason", "score", "nearest_test_id", "nearest_test_cosine", "found_by",
    "query", "part",
)  # fmt: skip


def reason_words() -> dict[str, str]:
    """Every reason why a row of a pool is not kept, with its words."""
    return drop_words() | OUTSIDE_CURATION


@dataclass(frozen=True)
class Selection:
    """Which images of a pool to show; None: all."""

    class_id: int | None = None
    kept: bool | None = None
    drop_reason: str | None = None

    def rows(self, pool: "pa.Table") -> np.ndarray:
        """Row numbers, in the manifest's order. Raises Invalid for a reason that there is not."""
        if self.drop_reason is not None and self.drop_reason not in (known := reason_words()):
            raise Invalid(unknown("reason to drop an image called", self.drop_reason, list(known)))
        wanted = np.ones(pool.num_rows, dtype=bool)
        if self.class_id is not None:
            wanted &= pool["class_id"].to_numpy() == self.class_id
        if self.kept is not None:
            wanted &= pool["kept"].to_numpy(zero_copy_only=False) == self.kept
        if self.drop_reason is not None:
            wanted &= pool["drop_reason"].to_numpy(zero_copy_only=False) == self.drop_reason
        return np.flatnonzero(wanted)

    @property
    def query(self) -> dict[str, str]:
        """As the parameters of a page's address."""
        shown = self.drop_reason or {None: "", True: "kept", False: "dropped"}[self.kept]
        chosen = {"class_id": "" if self.class_id is None else str(self.class_id), "show": shown}
        return {name: value for name, value in chosen.items() if value}

    @classmethod
    def of_query(cls, class_id: str, show: str) -> Self:
        """Of the same parameters. Raises Invalid."""
        if class_id and not _CLASS_ID.fullmatch(class_id):
            raise Invalid(f"{class_id!r} is no number of a class")
        chosen = int(class_id) if class_id else None
        if show in _KEPT:
            return cls(chosen, _KEPT[show])
        return cls(chosen, drop_reason=show)


@dataclass(frozen=True)
class ArmAddresses:
    """Where the images of one arm at one target are served and shown."""

    experiment: str
    arm: str
    target: str

    def bytes_of(self, image: str) -> str:
        return f"/v1{self._images}/{image}?{urlencode({'target': self.target})}"

    def page_of(self, image: str, row: int | None, selection: Selection) -> str:
        """`row`: None for the first that holds the image. `selection`: what its neighbours are looked for in."""
        asked = {"target": self.target, **selection.query} | ({} if row is None else {"row": str(row)})
        return f"{self._images}/{image}?{urlencode(asked)}"

    def list_of(self, selection: Selection) -> str:
        return f"{self._images}?{urlencode({'target': self.target, **selection.query})}"

    @property
    def _images(self) -> str:
        return f"/experiments/{quote(self.experiment)}/arms/{quote(self.arm)}/images"


def parts_of(spec: ExperimentSpec, arm: str) -> tuple[str, ...]:
    """The arms a mixture is made of, in the order of the manifest's column `part`; empty for any other arm."""
    return next((planner_of(known).parts(known) for known in spec.arms if known.name == arm), ())


def image_views(
    pool: "pa.Table",
    rows: Sequence[int],
    classes: Sequence[ClassLabel],
    parts: Sequence[str],
    addresses: ArmAddresses,
    selection: Selection,
) -> Iterator[ImageView]:
    """`parts`: the arms of a mixture; `selection`: what `rows` were chosen by."""
    import pyarrow as pa

    chosen = pool.take(pa.array(rows, pa.int64())).select(_SHOWN)
    for number, row in zip(rows, chosen.to_pylist(), strict=True):
        yield ImageView(
            id=row["id"],
            class_id=row["class_id"],
            class_name=classes[row["class_id"]].display_name,
            url=addresses.bytes_of(row["id"]),
            caption=row["caption"],
            kept=row["kept"],
            drop_reason=row["drop_reason"],
            score=known_number(row["score"]),
            nearest_test_id=row["nearest_test_id"] or None,
            nearest_test_cosine=known_number(row["nearest_test_cosine"]),
            found_by=row["found_by"],
            query=row["query"],
            part=part_of(row, parts),
            page=addresses.page_of(row["id"], number, selection),
        )


def known_number(value: Any) -> float | None:
    return None if value is None or math.isnan(value) else float(value)


def known_count(value: Any) -> int | None:
    """-1 where there is none."""
    return None if value < 0 else int(value)


def part_of(row: Mapping[str, Any], parts: Sequence[str]) -> str | None:
    return parts[row["part"]] if row["part"] >= 0 else None


def row_of_image(pool: "pa.Table", image: str, row: int | None = None) -> int:
    """`row`, if it holds the image, else the first row that does. Raises NotFound."""
    import pyarrow.compute as pc

    if row is not None and row < pool.num_rows and pool["id"][row].as_py() == image:
        return row
    first: int = pc.index(pool["id"], image).as_py()
    if first < 0:
        raise NotFound(f"this arm has no image {image!r}")
    return first


def read_image(artifacts: Artifacts, manifest: "pa.Table", row: int) -> bytes:
    """By range from its shard. Raises MissingObject when the shard is gone or has other bytes there."""
    image, shard, offset, length = (manifest[column][row].as_py() for column in ("id", "shard", "offset", "length"))
    return artifacts.get_image(image, shard, offset, length)
