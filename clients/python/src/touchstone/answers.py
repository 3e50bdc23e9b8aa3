"""Results and verdict as a notebook shows them: readable, as a data frame, as a picture."""

import io
from typing import TYPE_CHECKING, Any

from rich.console import Console
from touchstone_contracts import views
from touchstone_contracts.adaptation import METRICS, Metric

from touchstone.extras import extra
from touchstone.html import html_list, html_table
from touchstone.tables import mean_and_std, print_results, print_verdict
from touchstone.untouched import untouched_headings, untouched_rows, untouched_title

if TYPE_CHECKING:
    import pandas as pd

    from touchstone.figures import Plot

SHOWN_WIDTH = 100
"""Columns of text that a notebook shows without wrapping."""


class Results(views.Results):
    """The accuracies that an experiment has measured.

    >>> results = client.results("exp_0123456789abcdef")
    >>> results.to_pandas().groupby(["arm", "size"]).value.mean()
    """

    def to_pandas(self, *, summary: bool = False) -> "pd.DataFrame":
        """One row per measured accuracy, a fraction from 0 to 1; with `summary` one row per arm and size: mean and
        sample standard deviation over seeds. `attrs` has the experiment's id and the digest of the results.

        >>> results.to_pandas(summary=True)[["target", "arm", "size", "mean", "std"]]
        """
        frame = as_frame(self.summary, views.SummaryRow) if summary else as_frame(self.rows, views.ResultRow)
        frame.attrs = {"experiment": self.experiment, "digest": self.digest, "complete": self.complete}
        return frame

    def plot(self, metric: Metric | None = None) -> "Plot":
        """Accuracy over training images, a panel per target and test set; error bars are standard deviations over
        seeds. Left out, `metric` is the first that was measured. The figure has `savefig`.

        >>> results.plot().savefig("accuracies.pdf")
        """
        with extra("notebook"):
            from touchstone.figures import accuracy_figure
        return accuracy_figure(self, metric or self.metrics[0])

    @property
    def metrics(self) -> list[str]:
        """Those that were measured."""
        return [metric for metric in METRICS if any(row.metric == metric for row in self.summary)]

    def __repr__(self) -> str:
        return as_text(print_results, self)

    __str__ = __repr__

    def _repr_html_(self) -> str:
        cells = {(row.target, row.test_set, row.arm, row.size, row.metric): row for row in self.summary}
        runs = dict.fromkeys((row.target, row.test_set, row.arm, row.size) for row in self.summary)
        headings = ("target", "test set", "arm", "images", *(METRICS[metric].words for metric in self.metrics))
        body = [
            (
                target,
                test_set,
                arm,
                str(size or "untouched"),
                *(mean_and_std(cells.get((target, test_set, arm, size, metric))) for metric in self.metrics),
            )
            for target, test_set, arm, size in runs
        ]
        note = [] if self.complete else ["The experiment is still running: more rows will come."]
        return html_table("Accuracy in %, mean ± standard deviation over seeds", headings, body) + html_list(note)


class Verdict(views.Verdict):
    """Which of two arms is better, by how much, and how sure that is.

    >>> verdict = client.verdict("exp_0123456789abcdef")
    >>> verdict.answer, verdict.primary.difference
    ('a_better', 0.035)
    """

    def to_pandas(self) -> "pd.DataFrame":
        """One row per comparison, the primary first: differences in accuracy (0.01 is one point) with the limits of
        their intervals.

        >>> verdict.to_pandas()[["target", "size", "difference", "low", "high"]]
        """
        frame = as_frame((self.primary, *self.secondary), views.ComparisonResult, without=("own", "borrowed"))
        frame.insert(0, "endpoint", ["primary", *("secondary" for _ in self.secondary)])
        frame.attrs = {"experiment": self.experiment, "confidence": self.confidence, "delta": self.delta}
        return frame

    def plot(self) -> "Plot":
        """The difference between the arms at each target and size, with confidence intervals.

        >>> verdict.plot().savefig("verdict.pdf")
        """
        with extra("notebook"):
            from touchstone.figures import difference_figure
        return difference_figure(self)

    def __repr__(self) -> str:
        return as_text(print_verdict, self)

    __str__ = __repr__

    def _repr_html_(self) -> str:
        primary, level = self.primary, f"{100 * self.confidence:.0f} % interval"
        compared = (
            f"{self.a} − {self.b}",
            METRICS[primary.metric].words,
            f"{100 * primary.difference:+.1f}",
            f"{100 * primary.low:+.1f} to {100 * primary.high:+.1f}",
            f"{100 * self.delta:.1f}",
            self.answer.replace("_", " "),
        )
        headings = ("compared", "accuracy", "difference", level, "smallest difference that matters", "answer")
        parts = [html_table(self.headline, headings, [compared], bold=True)]
        if self.baseline:
            parts.append(html_table(untouched_title(self), untouched_headings(self), untouched_rows(self)))
        decide = [f"What would decide it: {self.would_decide}"] if self.would_decide else []
        return "".join([*parts, html_list([*decide, *self.caveats])])


def as_frame(rows: Any, view: type[Any], without: tuple[str, ...] = ()) -> "pd.DataFrame":
    """One row per item, a column per field of `view`."""
    with extra("notebook"):
        import pandas as pd
    fields = [name for name in view.model_fields if name not in without]
    return pd.DataFrame([[getattr(row, name) for name in fields] for row in rows], columns=fields)


def as_text(print_it: Any, shown: object) -> str:
    """What `print_it` prints, wide enough for a notebook."""
    console = Console(file=io.StringIO(), width=SHOWN_WIDTH)
    print_it(console, shown)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().rstrip()
