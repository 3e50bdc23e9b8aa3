"""Whether the splits of a target can be a fair test, by the sha256 of their images.

| found | then |
|---|---|
| a class without an image in `test` or `validation` | Invalid (`class_without_images`) |
| a class without an image in `train` or a further test set | a fact |
| all images of a split in another one | Invalid (`splits_overlap`) |
| some images of a split in another one | a fact |
| images of a split in two of its classes | a fact |

Verdicts repeat the facts. Images that were taken down are not counted."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import pyarrow as pa
import pyarrow.compute as pc
from touchstone_contracts.catalogue import ClassLabel
from touchstone_contracts.problems import Invalid, in_words
from touchstone_contracts.steps import SharedImages, SplitFacts, TargetChecked

COMPLETE = ("test", "validation")
"""Splits that need an image of every class."""
MOST_NAMED = 10
"""Classes that a message names; the others are counted."""


def check_splits(classes: Sequence[ClassLabel], splits: Mapping[str, pa.Table]) -> TargetChecked:
    """`splits`: by name, with the columns `id` and `class_id`. Raises Invalid."""
    facts = [
        SplitFacts(split=name, absent=_absent(classes, rows), in_two_classes=_in_two_classes(rows))
        for name, rows in splits.items()
    ]
    for each in facts:
        if each.split in COMPLETE and each.absent:
            detail = f"the {each.split} split has no image of {_named(classes, each.absent)}"
            raise Invalid(f"{detail}: add images of them, or leave the classes out", code="class_without_images")
    return TargetChecked(
        shared=tuple(_shared(splits)),
        splits=tuple(each for each in facts if each.absent or each.in_two_classes),
    )


def _shared(splits: Mapping[str, pa.Table]) -> Iterator[SharedImages]:
    ids = {name: rows["id"].unique() for name, rows in splits.items()}
    for one, other in combinations(ids, 2):
        images = pc.sum(pc.is_in(ids[one], value_set=ids[other])).as_py() or 0
        for name, elsewhere in ((one, other), (other, one)):
            if images and images == len(ids[name]):
                detail = f"all {images} images of the {name} split are in the {elsewhere} split, byte by byte"
                raise Invalid(f"{detail}: register other images for one of them", code="splits_overlap")
        if images:
            yield SharedImages(splits=(one, other), images=images)


def _absent(classes: Sequence[ClassLabel], rows: pa.Table) -> tuple[int, ...]:
    there = set(rows["class_id"].unique().to_pylist())
    return tuple(label.id for label in classes if label.id not in there)


def _in_two_classes(rows: pa.Table) -> int:
    counts = rows.group_by("id").aggregate([("class_id", "count_distinct")])["class_id_count_distinct"]
    return pc.sum(pc.greater(counts, 1)).as_py() or 0


def _named(classes: Sequence[ClassLabel], ids: Sequence[int]) -> str:
    names = [f"{classes[class_id].display_name!r} ({class_id})" for class_id in ids[:MOST_NAMED]]
    others = [f"{len(ids) - MOST_NAMED} other classes"] if len(ids) > MOST_NAMED else []
    return in_words([*names, *others], "and")
