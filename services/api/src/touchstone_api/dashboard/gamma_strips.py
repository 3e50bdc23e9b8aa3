"""Source images beside their perturbations at rising gamma (the paper's Figure 4)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from touchstone_contracts.experiment import ExperimentSpec
from touchstone_contracts.values import StepId
from touchstone_contracts.views import ImageView
from touchstone_planning.arms.planner import planner_of

from touchstone_api.results.images import ArmAddresses, Selection, image_views, known_number, parts_of
from touchstone_api.results.reader import ResultsReader

if TYPE_CHECKING:
    import pyarrow as pa

MOST_STRIPS = 6
"""Of an arm at a target: one of each of its first classes."""
LOOKED_AT = 50
"""Kept source images of a class, of which the one with the most perturbations is shown."""


@dataclass(frozen=True)
class GammaStrip:
    source: ImageView
    perturbed: tuple[ImageView | None, ...]
    """At each gamma of the strips; None where that arm has none of this source image."""


@dataclass(frozen=True)
class GammaStrips:
    target: str
    parent: str
    arms: tuple[tuple[str, float], ...]
    """(arm, gamma), by rising gamma"""
    strips: tuple[GammaStrip, ...]


@dataclass(frozen=True)
class _Pool:
    manifest: "pa.Table"
    addresses: ArmAddresses


def gamma_strips(
    reader: ResultsReader, experiment: str, curated: Mapping[tuple[str, str], StepId]
) -> Iterator[GammaStrips]:
    """Of every arm at a target that others perturb. `curated`: the step of each pool that is curated, by (target,
    arm)."""
    spec = reader.planned(experiment).spec
    for parent, arms in _perturbed(spec).items():
        for target in spec.targets:
            cells = [(target, arm) for arm in arms if (target, arm) in curated]
            if not cells or (target, parent) not in curated:
                continue
            pools = {
                arm: _Pool(reader.finished.pool(curated[target, arm]), ArmAddresses(experiment, arm, target))
                for arm in (parent, *(arm for _, arm in cells))
            }
            yield _strips_of(reader, target, parent, pools)


def _perturbed(spec: ExperimentSpec) -> dict[str, list[str]]:
    """Arm -> the arms that are made from its images, one from one."""
    found: dict[str, list[str]] = {}
    for arm in spec.arms:
        origin = planner_of(arm).origin(arm)
        if origin is not None:
            found.setdefault(origin, []).append(arm.name)
    return found


def _strips_of(reader: ResultsReader, target: str, parent: str, pools: Mapping[str, _Pool]) -> GammaStrips:
    made = {arm: pool for arm, pool in pools.items() if arm != parent}
    gammas = {arm: gamma for arm, pool in made.items() if (gamma := _gamma(pool.manifest)) is not None}
    ordered = sorted(gammas, key=lambda arm: (gammas[arm], arm))
    classes = reader.resolved(pools[parent].addresses.experiment).classes_of(target)
    found = (_strip(reader, pools[parent], [made[arm] for arm in ordered], label.id) for label in classes)
    strips = islice((strip for strip in found if strip is not None), MOST_STRIPS)
    return GammaStrips(target, parent, tuple((arm, gammas[arm]) for arm in ordered), tuple(strips))


def _gamma(manifest: "pa.Table") -> float | None:
    """An arm has one; None where it has no image."""
    return known_number(manifest["gamma"][0].as_py()) if manifest.num_rows else None


def _strip(reader: ResultsReader, parent: _Pool, made: Sequence[_Pool], class_id: int) -> GammaStrip | None:
    """Of the first source image of a class that most arms have a perturbation of; None where there is none."""
    import pyarrow as pa

    rows = Selection(class_id, kept=True).rows(parent.manifest)[:LOOKED_AT]
    ids = parent.manifest["id"].take(pa.array(rows, pa.int64())).to_pylist()
    if not ids:
        return None
    children = [_children(pool.manifest, ids, class_id) for pool in made]
    counts = [sum(image in of_arm for of_arm in children) for image in ids]
    if not max(counts):
        return None
    best = counts.index(max(counts))
    perturbed = (
        _view(reader, pool, of_arm[ids[best]]) if ids[best] in of_arm else None
        for pool, of_arm in zip(made, children, strict=True)
    )
    return GammaStrip(_view(reader, parent, int(rows[best])), tuple(perturbed))


def _children(manifest: "pa.Table", ids: Sequence[str], class_id: int) -> dict[str, int]:
    """Of each source image the first row that was made from it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    made_from = pc.is_in(manifest["parent"], value_set=pa.array(ids, pa.string())).to_numpy()
    rows = np.flatnonzero(made_from & (manifest["class_id"].to_numpy() == class_id))[::-1]
    parents = manifest["parent"].take(pa.array(rows, pa.int64())).to_pylist()
    return dict(zip(parents, rows.tolist(), strict=True))


def _view(reader: ResultsReader, pool: _Pool, row: int) -> ImageView:
    addresses, resolved = pool.addresses, reader.resolved(pool.addresses.experiment)
    parts, classes = parts_of(resolved.spec, addresses.arm), resolved.classes_of(addresses.target)
    [view] = image_views(pool.manifest, [row], classes, parts, addresses, Selection())
    return view
