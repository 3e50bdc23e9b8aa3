"""An experiment's accuracies and differences as pictures. Needs matplotlib: `pip install 'touchstone-lab[figures]'`."""

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from touchstone_contracts.adaptation import METRICS, Metric
from touchstone_contracts.catalogue import on_test_set
from touchstone_contracts.views import ComparisonResult, Results, SummaryRow, Verdict

PANEL_INCHES = (4.2, 3.2)
LEAST_SPAN = 5.0
"""Points of accuracy that the y-axis spans at least, so that differences within the noise do not fill a plot."""


class Plot(Figure):
    """A figure that a notebook shows when it is the value of a cell."""

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.savefig(content, format="png", dpi=110)
        return content.getvalue()


def draw_accuracies(results: Results, metric: Metric, path: Path) -> None:
    """Writes `accuracy_figure` into a file; the suffix of `path` names the format."""
    accuracy_figure(results, metric).savefig(path, dpi=110)


def accuracy_svg(results: Results, metric: Metric) -> str:
    """`accuracy_figure` as an element to put into HTML: text stays text, and the same numbers give the same element."""
    content = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": f"{results.digest}{metric}"}):
        accuracy_figure(results, metric).savefig(content, format="svg", metadata=nothing)
    drawn = content.getvalue()
    return drawn[drawn.index("<svg") :].strip()


def accuracy_figure(results: Results, metric: Metric) -> Plot:
    """One panel per target and test set: accuracy (%) over images per arm or, with one size, of the arms side by side.

    Bars are standard deviations over seeds, the dashed line is the untouched encoder."""
    shown = [row for row in results.summary if row.metric == metric]
    tested = list(dict.fromkeys((row.target, row.test_set) for row in shown))
    width, height = PANEL_INCHES
    figure = Plot(figsize=(width * max(1, len(tested)), height), layout="constrained")
    panels = figure.subplots(1, max(1, len(tested)), squeeze=False)[0]
    for axes, (target, test_set) in zip(panels, tested, strict=False):
        axes.set_title(on_test_set(target, test_set))
        _draw_panel(axes, [row for row in shown if (row.target, row.test_set) == (target, test_set)])
    panels[0].set_ylabel(f"{METRICS[metric].words} in %")
    seeds = max((row.seeds for row in shown if row.std is not None), default=0)
    figure.supxlabel(
        f"Error bars: ± 1 standard deviation over {seeds} seeds" if seeds else "One seed: no error bars",
        fontsize="small",
    )
    return figure


def difference_figure(verdict: Verdict) -> Plot:
    """Accuracy(a) - accuracy(b) in points, of the primary comparison and, in its metric and on its test set, at each
    target and size. Bars are confidence intervals; the band is what is too small to matter."""
    primary = verdict.primary
    like = [each for each in verdict.secondary if (each.metric, each.test_set) == (primary.metric, primary.test_set)]
    shown = [primary, *like]
    figure = Plot(figsize=(6.0, 1.2 + 0.35 * len(shown)), layout="constrained")
    axes = figure.subplots()
    rows = range(len(shown))
    middle = [100 * each.difference for each in shown]
    below = [100 * (each.difference - each.low) for each in shown]
    above = [100 * (each.high - each.difference) for each in shown]
    axes.errorbar(middle, list(rows), xerr=[below, above], fmt="o", capsize=3)
    axes.axvline(0, color="gray", linestyle="--")
    axes.axvspan(-100 * verdict.delta, 100 * verdict.delta, color="gray", alpha=0.15)
    axes.set_yticks(list(rows), [_compared(each) for each in shown])
    axes.invert_yaxis()
    axes.set_xlabel(
        f"{verdict.a} − {verdict.b}, points of {METRICS[primary.metric].words}\n"
        f"Error bars: {100 * verdict.confidence:.0f} % intervals; gray band: too small to matter"
    )
    return figure


def _compared(result: ComparisonResult) -> str:
    target = result.target or "all targets"
    return f"{target}, {result.size} images" if result.size is not None else target


def _draw_panel(axes: Axes, rows: Sequence[SummaryRow]) -> None:
    for row in rows:
        if not row.size:
            axes.axhline(100 * row.mean, linestyle="--", color="gray", label=f"{row.arm} (untouched)")
    trained = [row for row in rows if row.size]
    if len({row.size for row in trained}) == 1:
        _draw_points(axes, [row.arm for row in trained], trained, label=f"{trained[0].size} images")
        axes.tick_params(axis="x", labelrotation=45)
    else:
        for arm in dict.fromkeys(row.arm for row in trained):
            reached = [row for row in trained if row.arm == arm]
            _draw_points(axes, [row.size for row in reached], reached, label=arm)
        axes.set_xscale("log")
        axes.set_xticks(sorted({row.size for row in trained}), minor=False)
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.minorticks_off()
        axes.set_xlabel("training images")
    low, high = axes.get_ylim()
    if high - low < LEAST_SPAN:
        middle = (low + high) / 2
        axes.set_ylim(middle - LEAST_SPAN / 2, middle + LEAST_SPAN / 2)
    axes.legend(fontsize="small")


def _draw_points(axes: Axes, x: Sequence[int] | Sequence[str], rows: Sequence[SummaryRow], label: str) -> None:
    line = "" if isinstance(x[0], str) else "-"  # between arms there is nothing
    means, spreads = [100 * row.mean for row in rows], [100 * (row.std or 0.0) for row in rows]
    axes.errorbar(x, means, yerr=spreads, marker="o", linestyle=line, capsize=3, label=label)
