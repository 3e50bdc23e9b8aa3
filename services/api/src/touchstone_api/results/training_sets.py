"""Which images a training set holds, drawn as the trainer draws them, and where each of them comes from."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from touchstone_contracts.arms.mixture import Mixing
from touchstone_contracts.curation import Curation
from touchstone_contracts.experiment import ExperimentSpec
from touchstone_contracts.layout import Cell
from touchstone_contracts.problems import Invalid, NotFound, in_words
from touchstone_contracts.values import Blob, Digest
from touchstone_contracts.views import DrawnImages, TrainingImage, TrainingSetView
from touchstone_planning.arms.planner import planner_of
from touchstone_planning.resolved import ResolvedExperiment
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.caches import ByteCache

from touchstone_api.results.image_facts import image_facts
from touchstone_api.results.images import ArmAddresses

if TYPE_CHECKING:
    import pyarrow as pa

REMEMBERED_ROWS = 128 * 2**20
"""Bytes of the rows of training sets, so that each page of one is cut from what was drawn for the first."""


@dataclass(frozen=True)
class Draw:
    """How the trainer draws from an arm's pool."""

    size: int
    seed: int
    """Of the experiment; what it draws with is `draw_seed`."""
    draw_seed: int
    rules: Curation
    mixing: Mixing | None

    def cell(self, target: str, arm: str) -> Cell:
        return Cell(target=target, arm=arm, size=self.size, seed=self.seed)


@dataclass(frozen=True)
class Drawn:
    """A training set; `draw` is None for all that curation kept."""

    target: str
    arm: str
    draw: Draw | None
    rows: "pa.Table"
    """The manifest's rows in the order of the draw."""
    digest: Digest
    recorded: Digest | None
    """What the run recorded as its training set."""
    classes: int


def draw_of(spec: ExperimentSpec, arm: str, size: int | None, seed: int | None) -> Draw | None:
    """None for the whole pool. Raises NotFound where the experiment has no such size or seed, Invalid for a seed
    alone."""
    if size is None:
        if seed is not None:
            raise Invalid("a seed draws a training set of a size: name the size too", code="size_needed")
        return None
    seed = spec.seeds[0] if seed is None else seed
    for kind, value, known in (("sizes", size, sorted(spec.sizes)), ("seeds", seed, spec.seeds)):
        if value not in known:
            there = in_words([str(each) for each in known], "and")
            raise NotFound(f"{value} is none of the experiment's {kind}, which are {there}")
    planned = next(each for each in spec.arms if each.name == arm)
    draw_seed = next(each.draw for each in spec.seed_sources if each.seed == seed)
    return Draw(size, seed, draw_seed, spec.curation, planner_of(planned).mixing(planned))


class TrainingSets:
    """One per process; remembers what was drawn last."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts
        self._drawn = ByteCache[tuple[Blob, str], tuple["pa.Table", Digest]](
            REMEMBERED_ROWS, lambda drawn: drawn[0].nbytes
        )

    def drawn(self, manifest: Blob, draw: Draw | None, arm: str) -> tuple["pa.Table", Digest]:
        """Rows of a curated pool's manifest, and the digest of their ids and classes. Raises NotFound where the pool is
        too small, MissingObject where it was lost."""
        return self._drawn.get_or_make((manifest, repr(draw)), lambda: self._draw(manifest, draw, arm))

    def _draw(self, manifest: Blob, draw: Draw | None, arm: str) -> tuple["pa.Table", Digest]:
        # pyarrow comes with the first table.
        from touchstone_runtime.image_sets import with_all_columns
        from touchstone_runtime.training_sets import draw_training_set, kept_pool, largest_size, training_set_digest

        table = with_all_columns(self._artifacts.get_table(manifest))
        pool = kept_pool(table)
        if draw is None:
            positions = np.arange(len(pool))
        else:
            if draw.size > (most := largest_size(pool, draw.mixing)):
                raise NotFound(f"arm {arm!r} is not trained at size {draw.size}: its pool is enough for {most} images")
            positions = draw_training_set(pool, draw.size, draw.draw_seed, draw.rules, draw.mixing)
        return table.take(pool.rows[positions]), training_set_digest(pool, positions)


def training_set_view(drawn: Drawn) -> TrainingSetView:
    counts = np.bincount(drawn.rows["class_id"].to_numpy(), minlength=drawn.classes)
    return TrainingSetView(
        target=drawn.target,
        arm=drawn.arm,
        size=drawn.draw.size if drawn.draw else None,
        seed=drawn.draw.seed if drawn.draw else None,
        images=drawn.rows.num_rows,
        images_by_class=tuple(counts.tolist()),
        digest=drawn.digest,
        trained_on=drawn.recorded,
    )


def training_images(
    drawn: Drawn, rows: Sequence[int], resolved: ResolvedExperiment, parts: Sequence[str], addresses: ArmAddresses
) -> Iterator[TrainingImage]:
    """`parts`: the arms of a mixture."""
    for row in drawn.rows.take(list(rows)).to_pylist():
        yield TrainingImage(**image_facts(row, resolved, parts, addresses))


def drawn_images(spec: ExperimentSpec, arm: str, kept: int, pool: Callable[[], "pa.Table"]) -> tuple[DrawnImages, ...]:
    """Of each size. `kept`: images that curation kept; `pool`: reads their manifest, which a mixture needs."""
    planned = next(each for each in spec.arms if each.name == arm)
    mixing, sizes = planner_of(planned).mixing(planned), sorted(spec.sizes)
    if mixing is None:
        return tuple(DrawnImages(size=size, images=size if size <= kept else None) for size in sizes)
    table = pool()
    of_part = np.bincount(table["part"].to_numpy()[table["kept"].to_numpy()], minlength=len(mixing.amounts))
    largest = mixing.largest_size(of_part.tolist(), limit=max(sizes))
    return tuple(DrawnImages(size=size, images=sum(mixing.quotas(size)) if size <= largest else None) for size in sizes)
