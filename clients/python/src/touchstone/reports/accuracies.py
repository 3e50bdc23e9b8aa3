"""The table of accuracies: arms and targets down, sizes across, each mean with its spread over seeds."""

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Literal, NamedTuple

from touchstone_contracts.adaptation import METRICS, Metric
from touchstone_contracts.catalogue import on_test_set
from touchstone_contracts.views import SummaryRow

from touchstone.extras import extra
from touchstone.reports.blocks import Table

Spread = Literal["std", "interval"]
"""What stands beside a mean: the sample standard deviation over seeds, or the interval of the mean."""

TIED = " †"


class Measured(NamedTuple):
    """A mean accuracy and its spread, in points; None: one seed has no spread."""

    mean: float
    spread: float | None

    @property
    def text(self) -> str:
        return f"{self.mean:.1f}" if self.spread is None else f"{self.mean:.1f} ± {self.spread:.1f}"

    def reaches(self, best: "Measured") -> bool:
        """Whether the two ranges, mean ± spread, overlap."""
        return self.mean + (self.spread or 0) >= best.mean - (best.spread or 0)


def accuracy_table(summary: Sequence[SummaryRow], metric: Metric, spread: Spread, confidence: float) -> Table:
    """The untouched encoder has no size and stands in every column. The best arm of a target and size is in bold, and
    those whose range overlaps with its range carry a dagger. Raises MissingExtra (intervals need scipy)."""
    sizes = sorted({row.size for row in summary if row.size}) or [0]
    cells = {
        (on_test_set(row.target, row.test_set), row.arm, row.size): measured(row, spread, confidence)
        for row in summary
        if row.metric == metric
    }
    arms = list(dict.fromkeys((target, arm) for target, arm, _ in cells))
    grid = {
        (line, column): found
        for line, (target, arm) in enumerate(arms)
        for column, size in enumerate(sizes, start=2)
        if (found := cells.get((target, arm, size)) or cells.get((target, arm, 0)))
    }
    best, tied = _marks([target for target, _ in arms], grid, len(sizes))
    rows = tuple(
        (target, arm, *(_cell(grid.get((line, column)), (line, column) in tied) for column in range(2, 2 + len(sizes))))
        for line, (target, arm) in enumerate(arms)
    )
    return Table(
        name=f"accuracies-{metric}",
        title=f"{METRICS[metric].words.capitalize()} in %, {_spread_words(spread, confidence)}",
        headings=("target", "arm", *(str(size) if size else "untouched" for size in sizes)),
        rows=rows,
        best=frozenset(best),
        note=_note(spread, bool(tied)) if best else "",
    )


def measured(row: SummaryRow, spread: Spread, confidence: float) -> Measured:
    """In points. An interval is that of Student's t over the seeds' accuracies."""
    if row.std is None or row.seeds < 2:
        return Measured(100 * row.mean, None)
    if spread == "std":
        return Measured(100 * row.mean, 100 * row.std)
    with extra("judge"):
        from scipy.stats import t
    half = float(t.ppf((1 + confidence) / 2, row.seeds - 1)) * row.std / sqrt(row.seeds)
    return Measured(100 * row.mean, 100 * half)


Position = tuple[int, int]


def _marks(
    targets: Sequence[str], grid: Mapping[Position, Measured], sizes: int
) -> tuple[set[Position], set[Position]]:
    """(best, tied) positions, target by target and size by size."""
    best, tied = set[Position](), set[Position]()
    for target in dict.fromkeys(targets):
        for column in range(2, 2 + sizes):
            lines = [line for line, name in enumerate(targets) if name == target and (line, column) in grid]
            if len(lines) < 2:
                continue
            top = max((grid[line, column] for line in lines), key=lambda found: found.mean)
            first = {(line, column) for line in lines if grid[line, column].mean == top.mean}
            best |= first
            tied |= {(line, column) for line in lines if grid[line, column].reaches(top)} - first
    return best, tied


def _cell(found: Measured | None, tied: bool) -> str:
    return "" if found is None else found.text + (TIED if tied else "")


def _spread_words(spread: Spread, confidence: float) -> str:
    if spread == "std":
        return "mean ± standard deviation over seeds"
    return f"mean ± half width of the {100 * confidence:g} % interval over seeds (Student's t)"


def _note(spread: Spread, tied: bool) -> str:
    bold = "Bold: the highest mean at a target and size."
    if not tied:
        return bold
    ranges = "mean ± standard deviation" if spread == "std" else "interval"
    return (
        f"{bold} †: its {ranges} overlaps with that of the highest mean. The ranges leave out the sampling of test "
        "images; the intervals of the verdict have it."
    )
