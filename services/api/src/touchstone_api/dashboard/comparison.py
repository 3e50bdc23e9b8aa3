"""Several experiments side by side: their accuracies, and their verdicts on one axis."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import shorten

from touchstone_contracts.adaptation import Metric
from touchstone_contracts.experiment import ExperimentSpec
from touchstone_contracts.views import Exhausted, ExperimentView, Results, SummaryRow, Verdict

from touchstone_api.dashboard.intervals import FOOT, ROW_HEIGHT, IntervalDrawing, axis_of, draw_interval

HEADING_LENGTH = 40


@dataclass(frozen=True)
class Compared:
    """One of the experiments; `number` counts from 1 in the order they were asked for."""

    number: int
    experiment: ExperimentView
    spec: ExperimentSpec
    results: Results
    verdict: Verdict | None
    obstacle: str
    """Why there is no verdict."""

    @property
    def heading(self) -> str:
        """Of its column: short, as names have up to 200 characters."""
        return f"{self.number}. {shorten(self.experiment.name, HEADING_LENGTH, placeholder='...')}"


@dataclass(frozen=True)
class SideBySide:
    """Accuracies of one metric on one test set of a target: one row per arm and size, one cell per experiment."""

    target: str
    metric: Metric
    test_set: str
    rows: tuple[tuple[str, int, tuple[SummaryRow | Exhausted | None, ...]], ...]
    """(arm, size, cells); None: the experiment did not measure it, or has not yet."""


def side_by_side(compared: Sequence[Compared]) -> list[SideBySide]:
    """Of everything that one of the experiments measured, in the order in which they name it."""
    measured = [
        {(row.target, row.metric, row.test_set, row.arm, row.size): row for row in each.results.summary}
        for each in compared
    ]
    gone = [{(lost.target, lost.arm, lost.size): lost for lost in each.results.exhausted} for each in compared]
    ranks = _ordered(compared)
    keys = sorted({key for rows in measured for key in rows}, key=lambda key: ranks[key])
    tables: dict[tuple[str, Metric, str], list[tuple[str, int, tuple[SummaryRow | Exhausted | None, ...]]]] = {}
    for key in keys:
        target, metric, test_set, arm, size = key
        cells = tuple(rows.get(key) or lost.get((target, arm, size)) for rows, lost in zip(measured, gone, strict=True))
        tables.setdefault((target, metric, test_set), []).append((arm, size, cells))
    return [SideBySide(*table, rows=tuple(rows)) for table, rows in tables.items()]


def _ordered(compared: Sequence[Compared]) -> dict[tuple[str, Metric, str, str, int], tuple[int, ...]]:
    """For each measurement the rank of its target, metric, test set and arm among those named, and its size."""
    specs = [each.spec for each in compared]
    rows = [row for each in compared for row in each.results.summary]
    targets = _ranks(name for spec in specs for name in spec.targets)
    metrics = _ranks(name for spec in specs for name in spec.evaluation.metrics)
    arms = _ranks(arm.name for spec in specs for arm in spec.arms)
    test_sets = _ranks(row.test_set for row in rows)
    return {
        (row.target, row.metric, row.test_set, row.arm, row.size): (
            targets[row.target], metrics[row.metric], test_sets[row.test_set], arms[row.arm], row.size
        )
        for row in rows
    }  # fmt: skip


def _ranks(names: Iterator[str]) -> dict[str, int]:
    return {name: rank for rank, name in enumerate(dict.fromkeys(names))}


@dataclass(frozen=True)
class VerdictsDrawing:
    """One interval below the other; (compared, verdict, top of its row, positions)."""

    rows: tuple[tuple[Compared, Verdict, float, IntervalDrawing], ...]
    floor: float
    """Where the axis is."""
    height: float
    zero: float
    ticks: tuple[tuple[float, float], ...]
    """(position, difference in points)"""


def draw_verdicts(compared: Sequence[Compared]) -> VerdictsDrawing | None:
    """None where no experiment has a verdict."""
    judged = [(each, each.verdict) for each in compared if each.verdict is not None]
    if not judged:
        return None
    axis, floor = axis_of([verdict for _, verdict in judged]), ROW_HEIGHT * len(judged)
    return VerdictsDrawing(
        rows=tuple(
            (each, verdict, ROW_HEIGHT * number, draw_interval(verdict, axis))
            for number, (each, verdict) in enumerate(judged)
        ),
        floor=floor,
        height=floor + FOOT,
        zero=axis.at(0),
        ticks=axis.ticks,
    )
