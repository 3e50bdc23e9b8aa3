"""Held-out images of a target: those of its test sets and of its validation split, found by their ids."""

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from touchstone_contracts.layout import PlanLayout
from touchstone_contracts.views import HeldOutImage

from touchstone_api.results.reader import ResultsReader

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class HeldOut:
    """Where a held-out image lies."""

    split: str
    manifest: "pa.Table"
    row: int


def find_held_out(reader: ResultsReader, experiment: str, target: str, image: str) -> HeldOut | None:
    """In the first split that holds it, test sets before validation; None where none does, or not yet."""
    import pyarrow.compute as pc

    for split, step in _splits(reader.planned(experiment).plan.layout, target):
        if not reader.is_done(step):
            continue
        manifest = reader.finished.held_out(step)
        row: int = pc.index(manifest["id"], image).as_py()
        if row >= 0:
            return HeldOut(split, manifest, row)
    return None


def _splits(layout: PlanLayout, target: str) -> list[tuple[str, str]]:
    """(split, the step that ingests it)"""
    entries = (*layout.tests, *layout.validations)
    return [(entry.test_set, entry.step) for entry in entries if entry.target == target]


def held_out_image(reader: ResultsReader, experiment: str, target: str, image: str) -> HeldOutImage | None:
    """Empty ids are of no image. None where no split holds it."""
    found = find_held_out(reader, experiment, target, image) if image else None
    if found is None:
        return None
    row = found.manifest.slice(found.row, 1).to_pylist()[0]
    classes = reader.resolved(experiment).classes_of(target)
    return HeldOutImage(
        id=image,
        split=found.split,
        class_id=row["class_id"],
        class_name=classes[row["class_id"]].display_name,
        caption=row["caption"],
        source_key=row["source_key"],
        width=row["width"],
        height=row["height"],
        url=f"/v1/experiments/{quote(experiment)}/targets/{quote(target)}/images/{image}",
    )
