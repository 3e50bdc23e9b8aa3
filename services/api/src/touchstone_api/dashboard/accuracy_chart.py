"""Accuracy by size of the training set, as in the paper's Figure 2: one drawing per target, test set and metric."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log

from touchstone_contracts.adaptation import Metric
from touchstone_contracts.views import ScalingFit, ScalingPoint, SummaryRow
from touchstone_verdict.words import measure_words

from touchstone_api.dashboard.comparison import Compared, SideBySide
from touchstone_api.dashboard.facts import AccuracyTable


@dataclass(frozen=True)
class Geometry:
    """Of a chart, in units of its SVG: the plot with its margins, and below it the legend, a row for each series."""

    width: float = 460
    plot_height: float = 250
    left: float = 44
    right: float = 14
    top: float = 10
    bottom: float = 46
    inset: float = 8
    """Between the edges of the plot and the smallest and the largest size."""
    legend_row: float = 20


GEOMETRY = Geometry()
SMALLEST_SPAN = 0.04
"""Of the axis of accuracies: smaller differences do not fill the drawing."""
MOST_STEPS = 6
"""On the axis of accuracies."""
LABEL_ROOM = 34.0
"""Between the labels of two sizes; a label that is closer to its neighbour is left out."""
UNTOUCHED = "untouched encoder"
MOST_SERIES = 12
"""In a chart of several experiments: more could not be told apart."""
COLOURS = 6
MARKERS = (
    "M5,0 A5,5 0 1 1 -5,0 A5,5 0 1 1 5,0 Z",
    "M-4.5,-4.5 H4.5 V4.5 H-4.5 Z",
    "M0,-6 L6,0 L0,6 L-6,0 Z",
    "M0,-6 L5.5,4 H-5.5 Z",
    "M0,6 L5.5,-4 H-5.5 Z",
    "M-5,-5 L5,5 M5,-5 L-5,5",
)
"""SVG paths around the origin: circle, square, diamond, two triangles, cross."""


@dataclass(frozen=True)
class Series:
    """What one line of a chart is drawn from."""

    name: str
    rows: tuple[SummaryRow, ...]
    """By ascending size."""
    fit: ScalingFit | None = None
    """None: the measured means are joined by straight lines."""


@dataclass(frozen=True)
class Mark:
    """A measured mean with its error bar, which reaches from `low` to `high`."""

    x: float
    y: float
    low: float
    high: float
    row: SummaryRow
    words: str


@dataclass(frozen=True)
class DrawnSeries:
    """Lines and areas as SVG has them: "x,y x,y"."""

    name: str
    colour: int
    """From 1 to COLOURS."""
    marker: str
    marks: tuple[Mark, ...]
    line: str
    forecast: str
    """The fitted law beyond the measured sizes. Empty without a fit."""
    band: str
    """The interval of the fitted law. Empty without a fit, and where one seed gives no interval."""


@dataclass(frozen=True)
class AccuracyChart:
    target: str
    metric: Metric
    test_set: str
    series: tuple[DrawnSeries, ...]
    untouched: tuple[tuple[str, Mark], ...]
    """(name, mark) of encoders before training: lines over the whole width."""
    across: tuple[tuple[float, str], ...]
    """(x, label) of every measured size; the label is empty where there is no room for it."""
    up: tuple[tuple[float, str], ...]
    """(y, label in percent)"""

    @property
    def geometry(self) -> Geometry:
        return GEOMETRY

    @property
    def title(self) -> str:
        return f"{self.target}: {measure_words(self.metric, self.test_set)} in percent"

    @property
    def height(self) -> float:
        return GEOMETRY.plot_height + GEOMETRY.legend_row * (len(self.series) + len(self.untouched))


@dataclass(frozen=True)
class _Axes:
    first: int
    last: int
    low: float
    high: float

    def x(self, size: float) -> float:
        share = log(size / self.first) / log(self.last / self.first) if self.last > self.first else 0.5
        inner = GEOMETRY.width - GEOMETRY.left - GEOMETRY.right - 2 * GEOMETRY.inset
        return round(GEOMETRY.left + GEOMETRY.inset + inner * share, 1)

    def y(self, accuracy: float) -> float:
        share = (accuracy - self.low) / (self.high - self.low)
        floor = GEOMETRY.plot_height - GEOMETRY.bottom
        return round(floor - (floor - GEOMETRY.top) * share, 1)

    def line(self, points: Iterable[tuple[float, float]]) -> str:
        return " ".join(f"{self.x(size)},{self.y(accuracy)}" for size, accuracy in points)


def charts_of_arms(tables: Iterable[AccuracyTable], fits: Sequence[ScalingFit] = ()) -> list[AccuracyChart]:
    """One experiment: a chart for each table in which an arm is measured, with a series for each arm."""
    drawn = [
        _chart(
            (table.target, table.metric, table.test_set),
            [Series(arm, _measured(cells), _fit_of(fits, table, arm)) for arm, cells in table.rows],
            [(UNTOUCHED, table.baseline)] if table.baseline else [],
        )
        for table in tables
    ]
    return [chart for chart in drawn if chart is not None]


def charts_of_experiments(tables: Iterable[SideBySide], compared: Sequence[Compared]) -> list[AccuracyChart]:
    """Several experiments: a series for each arm of each. Without charts of more than MOST_SERIES series."""
    drawn = [
        _chart((table.target, table.metric, table.test_set), *_series_of_experiments(table, compared))
        for table in tables
    ]
    return [chart for chart in drawn if chart is not None and len(chart.series) <= MOST_SERIES]


def _series_of_experiments(
    table: SideBySide, compared: Sequence[Compared]
) -> tuple[list[Series], list[tuple[str, SummaryRow]]]:
    """The series, and the untouched encoders: one where all experiments measured the same."""
    series = []
    untouched: dict[float, tuple[str, SummaryRow]] = {}
    for column, each in enumerate(compared):
        rows = [(arm, row) for arm, _, cells in table.rows if isinstance(row := cells[column], SummaryRow)]
        for arm in dict.fromkeys(arm for arm, row in rows if row.size):
            name = f"{each.number}. {arm}"
            series.append(Series(name, tuple(row for other, row in rows if other == arm)))
        for _, row in rows:
            if not row.size:
                untouched.setdefault(row.mean, (f"{each.number}. {UNTOUCHED}", row))
    found = list(untouched.values())
    return series, found if len(found) > 1 else [(UNTOUCHED, row) for _, row in found]


def _measured(cells: Iterable[object]) -> tuple[SummaryRow, ...]:
    return tuple(cell for cell in cells if isinstance(cell, SummaryRow))


def _fit_of(fits: Sequence[ScalingFit], table: AccuracyTable, arm: str) -> ScalingFit | None:
    wanted = (table.target, table.metric, table.test_set, arm)
    return next((fit for fit in fits if (fit.target, fit.metric, fit.test_set, fit.arm) == wanted), None)


def _chart(
    measure: tuple[str, Metric, str], series: Sequence[Series], untouched: Sequence[tuple[str, SummaryRow]]
) -> AccuracyChart | None:
    """None while no series has a row. A series keeps its colour and marker while others have none yet."""
    rows = [row for each in series for row in each.rows]
    if not rows:
        return None
    shown = [*rows, *(row for _, row in untouched)]
    axes, steps = _axes(shown, [point for each in series if each.fit for point in each.fit.points])
    return AccuracyChart(
        *measure,
        series=tuple(_drawn(each, number, axes) for number, each in enumerate(series) if each.rows),
        untouched=tuple((name, _mark(name, row, axes)) for name, row in untouched),
        across=_labelled(sorted({row.size for row in rows}), axes),
        up=tuple((axes.y(step), f"{step * 100:.4g}") for step in steps),
    )


def chart_csv(chart: AccuracyChart) -> str:
    """What the chart shows as a table: a row for each mark, in percent. Spread: standard deviation over seeds."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(["series", "training_images", "mean_percent", "standard_deviation_percent", "seeds"])
    marks = [(each.name, mark.row) for each in chart.series for mark in each.marks]
    marks += [(name, mark.row) for name, mark in chart.untouched]
    for name, row in marks:
        spread = "" if row.std is None else 100 * row.std
        writer.writerow([name, row.size, 100 * row.mean, spread, row.seeds])
    return buffer.getvalue()


def _axes(rows: Sequence[SummaryRow], fitted: Sequence[ScalingPoint]) -> tuple[_Axes, list[float]]:
    """The axes that hold everything drawn, and the accuracies at which the vertical one is labelled."""
    values = [row.mean + sign * (row.std or 0.0) for row in rows for sign in (-1, 1)]
    values += [value for point in fitted for value in (point.accuracy, point.low, point.high) if value is not None]
    sizes = [row.size for row in rows if row.size] + [point.size for point in fitted]
    low, high = min(values), max(values)
    lacking = max(0.0, SMALLEST_SPAN - (high - low)) / 2
    steps = _round_steps(low - lacking, high + lacking)
    return _Axes(min(sizes), max(sizes), steps[0], steps[-1]), steps


def _round_steps(low: float, high: float) -> list[float]:
    """Equally spaced round accuracies, of which the first and the last hold `low` and `high` between them."""
    widths: Sequence[float] = (0.01, 0.02, 0.05, 0.1, 0.2)
    width = next((each for each in widths if ceil(high / each) - floor(low / each) <= MOST_STEPS), 0.25)
    return [round(number * width, 6) for number in range(floor(low / width), ceil(high / width) + 1)]


def _labelled(sizes: Sequence[int], axes: _Axes) -> tuple[tuple[float, str], ...]:
    """The largest size is always labelled."""
    labels: list[tuple[float, str]] = []
    nearest = float("inf")
    for size in reversed(sizes):
        x = axes.x(size)
        fits = nearest - x >= LABEL_ROOM
        nearest = x if fits else nearest
        labels.append((x, str(size) if fits else ""))
    return tuple(reversed(labels))


def _drawn(series: Series, number: int, axes: _Axes) -> DrawnSeries:
    fit = series.fit
    within = [point for point in fit.points if not point.forecast] if fit else []
    beyond = [point for point in fit.points if point.forecast] if fit else []
    measured = [(row.size, row.mean) for row in series.rows]
    return DrawnSeries(
        name=series.name,
        colour=number % COLOURS + 1,
        marker=MARKERS[(number + number // COLOURS) % len(MARKERS)],
        marks=tuple(_mark(series.name, row, axes) for row in series.rows),
        line=axes.line([(point.size, point.accuracy) for point in within] if fit else measured),
        forecast=axes.line((point.size, point.accuracy) for point in [*within[-1:], *beyond]) if beyond else "",
        band=_band(fit.points, axes) if fit else "",
    )


def _band(points: Sequence[ScalingPoint], axes: _Axes) -> str:
    upper = [(point.size, point.high) for point in points if point.high is not None]
    lower = [(point.size, point.low) for point in reversed(points) if point.low is not None]
    return axes.line([*upper, *lower])


def _mark(name: str, row: SummaryRow, axes: _Axes) -> Mark:
    spread = row.std or 0.0
    words = f"{name}: {row.mean * 100:.1f} %"
    words += f" at {row.size} images" if row.size else ""
    words += "" if row.std is None else f" (± {row.std * 100:.1f}, standard deviation over {row.seeds} seeds)"
    x = axes.x(row.size) if row.size else GEOMETRY.width / 2
    return Mark(x, axes.y(row.mean), axes.y(row.mean - spread), axes.y(row.mean + spread), row, words)
