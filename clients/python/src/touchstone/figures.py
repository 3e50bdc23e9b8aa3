"""An experiment's accuracies as a picture file. Needs matplotlib: `pip install touchstone-lab[figures]`."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from touchstone_contracts.adaptation import METRICS, Metric
from touchstone_contracts.catalogue import on_test_set
from touchstone_contracts.views import Results, SummaryRow

PANEL_INCHES = (4.2, 3.2)


def draw_accuracies(results: Results, metric: Metric, path: Path) -> None:
    """One panel a target and test set: accuracy (%) over images per arm or, with one size, of the arms side by side.

    Bars are standard deviations over seeds, the dashed line is the untouched encoder. The suffix of `path` names the
    format."""
    places = list(dict.fromkeys((row.target, row.test_set) for row in results.summary))
    width, height = PANEL_INCHES
    figure = Figure(figsize=(width * len(places), height), layout="constrained")
    panels = figure.subplots(1, len(places), squeeze=False)[0]
    for axes, (target, test_set) in zip(panels, places, strict=True):
        here = (target, test_set, metric)
        rows = [row for row in results.summary if (row.target, row.test_set, row.metric) == here]
        axes.set_title(on_test_set(target, test_set))
        _draw_panel(axes, rows)
    panels[0].set_ylabel(f"{METRICS[metric].words} in %")
    figure.savefig(path, dpi=110)


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
    axes.legend(fontsize="small")


def _draw_points(axes: Axes, places: Sequence[int] | Sequence[str], rows: Sequence[SummaryRow], label: str) -> None:
    line = "" if isinstance(places[0], str) else "-"  # between arms there is nothing
    means, spreads = [100 * row.mean for row in rows], [100 * (row.std or 0.0) for row in rows]
    axes.errorbar(places, means, yerr=spreads, marker="o", linestyle=line, capsize=3, label=label)
