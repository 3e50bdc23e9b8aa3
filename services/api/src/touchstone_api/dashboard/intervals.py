"""Confidence intervals of differences in accuracy, drawn on an axis: one verdict, or several on a common axis."""

from collections.abc import Sequence
from dataclasses import dataclass

from touchstone_contracts.views import Verdict

WIDTH, MARGIN = 600.0, 24.0
ROW_HEIGHT, FOOT = 46.0, 30.0
"""Of one interval among several, and of the axis below them."""
MOST_MARKS = 4
"""On each side of zero."""


@dataclass(frozen=True)
class Axis:
    """From -reach to +reach, in accuracy, over the width of a drawing."""

    reach: float

    def at(self, difference: float) -> float:
        inner = WIDTH - 2 * MARGIN
        return round(MARGIN + inner * (difference + self.reach) / (2 * self.reach), 1)

    @property
    def ticks(self) -> tuple[tuple[float, float], ...]:
        """(position, difference in points)"""
        step = _tick_step(self.reach)
        most = int(self.reach / step)
        marks = [number * step for number in range(-most, most + 1)]
        return tuple((self.at(mark), round(mark * 100, 6)) for mark in marks)


@dataclass(frozen=True)
class IntervalDrawing:
    """Positions on the axis: the interval, and the band of differences that do not matter."""

    low: float
    high: float
    middle: float
    zero: float
    band_low: float
    band_high: float
    ticks: tuple[tuple[float, float], ...]
    """(position, difference in points)"""


def axis_of(verdicts: Sequence[Verdict]) -> Axis:
    """The one that holds the primary interval of every verdict, and more than the differences that do not matter."""
    return Axis(1.1 * max(max(abs(each.primary.low), abs(each.primary.high), 1.5 * each.delta) for each in verdicts))


def draw_interval(verdict: Verdict, axis: Axis | None = None) -> IntervalDrawing:
    axis, primary, delta = axis or axis_of([verdict]), verdict.primary, verdict.delta
    return IntervalDrawing(
        low=axis.at(primary.low),
        high=axis.at(primary.high),
        middle=axis.at(primary.difference),
        zero=axis.at(0),
        band_low=axis.at(-delta),
        band_high=axis.at(delta),
        ticks=axis.ticks,
    )


def _tick_step(reach: float) -> float:
    """The smallest round step that puts at most MOST_MARKS marks on each side of zero."""
    steps: Sequence[float] = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
    return next((step for step in steps if reach / step <= MOST_MARKS), 1.0)
