"""Curves of training runs as drawings: loss and validation accuracy, epoch by epoch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from touchstone_contracts.steps import EpochScore
from touchstone_contracts.views import TrainingRun, UnfinishedRun

Run = TrainingRun | UnfinishedRun

WIDTH, HEIGHT, LEFT, BOTTOM = 560.0, 220.0, 52.0, 30.0
"""Of a drawing, and of the margins that hold its labels."""
SMALLEST_SPAN = 0.02
"""Of an axis: smaller differences do not fill the drawing."""
MOST_MARKS = 6


@dataclass(frozen=True)
class Curve:
    label: str
    series: int
    """Number of its learning rate, from 0: runs of one rate look alike."""
    points: str
    """As SVG has them: "x,y x,y"."""
    last: tuple[float, float]


@dataclass(frozen=True)
class Drawing:
    curves: tuple[Curve, ...]
    across: tuple[tuple[float, str], ...]
    """(x, label) of marks on the axis of epochs"""
    up: tuple[tuple[float, str], ...]
    """(y, label) of marks on the axis of values"""


def draw_loss(runs: Sequence[Run]) -> Drawing | None:
    return _draw(runs, lambda score: score.train_loss, lambda value: f"{value:.3f}")


def draw_accuracy(runs: Sequence[Run]) -> Drawing | None:
    """In percent."""
    return _draw(runs, lambda score: score.validation_accuracy, lambda value: f"{value * 100:.1f}")


def _draw(
    runs: Sequence[Run], value_of: Callable[[EpochScore], float], words: Callable[[float], str]
) -> Drawing | None:
    """None where no run has an epoch."""
    told = [run for run in runs if run.epochs]
    if not told:
        return None
    values = [value_of(score) for run in told for score in run.epochs]
    low, high = _span(min(values), max(values))
    last = max(score.epoch for run in told for score in run.epochs)
    first = min(score.epoch for run in told for score in run.epochs)
    rates = sorted({run.learning_rate or 0.0 for run in told})

    def x_of(epoch: int) -> float:
        return round(LEFT + (WIDTH - LEFT - 8) * ((epoch - first) / (last - first) if last > first else 0.5), 1)

    def y_of(value: float) -> float:
        return round((HEIGHT - BOTTOM) - (HEIGHT - BOTTOM - 10) * (value - low) / (high - low), 1)

    def curve(run: Run) -> Curve:
        points = [(x_of(score.epoch), y_of(value_of(score))) for score in run.epochs]
        label = f"{rate_words(run.learning_rate)}, seed {run.seed}"
        return Curve(label, rates.index(run.learning_rate or 0.0), " ".join(f"{x},{y}" for x, y in points), points[-1])

    step = -(-(last - first) // MOST_MARKS) or 1
    heights = [low + (high - low) * part / 4 for part in range(5)]
    return Drawing(
        curves=tuple(curve(run) for run in told),
        across=tuple((x_of(epoch), str(epoch)) for epoch in range(first, last + 1, step)),
        up=tuple((y_of(height), words(height)) for height in heights),
    )


def rate_words(learning_rate: float | None) -> str:
    return "no learning rate" if learning_rate is None else f"learning rate {learning_rate:g}"


def _span(low: float, high: float) -> tuple[float, float]:
    lacking = max(0.0, SMALLEST_SPAN - (high - low)) / 2
    return low - lacking, high + lacking
