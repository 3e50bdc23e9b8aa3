"""Tables with a row per class: accuracy, curation, links."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from touchstone_contracts.adaptation import METRICS
from touchstone_contracts.catalogue import ClassLabel, on_test_set
from touchstone_contracts.curation import CurationReport
from touchstone_contracts.views import ArmCuration, ClassTable, LinkReport, LinksOfClass

from touchstone.fitting import print_table

CONFUSIONS_SHOWN = 5


def _table(*headings: str) -> Table:
    """The first column names the class, the others hold numbers."""
    table = Table()
    table.add_column("class")
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def print_classes(console: Console, found: ClassTable) -> None:
    measured = on_test_set(METRICS[found.metric].heading, found.test_set)
    console.print(
        f"{found.target}, {found.arm}, {found.size} images: {measured} in %, "
        f"mean over {found.seeds} seeds, worst first",
        highlight=False,
    )
    table = _table("test images", "untouched", "accuracy", "change")
    for row in found.classes:
        cells = (_percent(row.untouched), _percent(row.accuracy), _percent(row.change, sign="+"))
        table.add_row(escape(row.display_name), str(row.test_images), *cells)
    print_table(console, table)
    names = {row.class_id: row.display_name for row in found.classes}
    for mistake in found.confusions[:CONFUSIONS_SHOWN]:
        truth, taken_for = names[mistake.class_id], names[mistake.predicted_id]
        console.print(f"{truth} taken for {taken_for}: {mistake.images:.1f} images", markup=False, highlight=False)


def _percent(value: float | None, sign: str = "") -> str:
    return "" if value is None else f"{100 * value:{sign}.1f}"


def print_curation(console: Console, found: ArmCuration, labels: Sequence[ClassLabel]) -> None:
    counts = found.counts
    console.print(
        f"{found.target}, {found.arm}: {counts.requested} images requested, {counts.obtained} obtained, "
        f"{counts.kept} kept; {len(counts.classes_without_images)} classes without images",
        highlight=False,
    )
    if found.report is None:
        console.print("This pool was curated before there were reports by class.")
        return
    print_table(console, _curation_by_class(found.report, labels))
    for line in _scores(found.report):
        console.print(line, highlight=False, soft_wrap=True)


def _curation_by_class(report: CurationReport, labels: Iterable[ClassLabel]) -> Table:
    """The classes that kept the smallest share first."""
    reasons = list(report.dropped_by_class)
    table = _table("obtained", *(reason.replace("_", " ") for reason in reasons), "kept")

    def share_kept(label: ClassLabel) -> float:
        return report.kept_by_class[label.id] / max(1, report.obtained_by_class[label.id])

    for label in sorted(labels, key=share_kept):
        dropped = (report.dropped_by_class[reason][label.id] for reason in reasons)
        numbers = (report.obtained_by_class[label.id], *dropped, report.kept_by_class[label.id])
        table.add_row(escape(label.display_name), *map(str, numbers))
    return table


def _scores(report: CurationReport) -> Iterable[str]:
    if report.scores is not None:
        edges = report.scores.edges
        before, after = (_mean(edges, counts) for counts in (report.scores.obtained, report.scores.kept))
        yield f"CLIP score: mean about {before} before, {after} after"
    if report.memorisation is not None:
        quantiles = ", ".join(f"{at}: {value:.3f}" for at, value in report.memorisation.cosine_quantiles.items())
        yield f"Cosine of synthetic images to the nearest upstream image, by quantile: {quantiles}"
        if report.memorisation.share is not None:
            yield f"{100 * report.memorisation.share:.1f} % of them reach {report.memorisation.threshold}"


def _mean(edges: Sequence[float], counts: Sequence[int]) -> str:
    """From a histogram, so true to half a bin."""
    middles = [(low + high) / 2 for low, high in pairwise(edges)]
    total = sum(counts)
    return f"{sum(m * n for m, n in zip(middles, counts, strict=True)) / total:.3f}" if total else "nothing"


def print_links(console: Console, found: LinkReport) -> None:
    """The classes that obtained the smallest share first, all of them together last."""
    console.print(f"{found.target}, {found.arm}: images behind retrieved links", highlight=False)
    table = _table("requested", "obtained", "from the reserve")
    table.add_column("why links gave none")
    for entry in sorted(found.classes, key=lambda each: each.obtained / max(1, each.requested)):
        table.add_row(*_link_cells(entry))
    table.add_section()
    table.add_row(*_link_cells(found.total))
    print_table(console, table)


def _link_cells(entry: LinksOfClass) -> tuple[str, ...]:
    reasons = ", ".join(f"{reason.replace('_', ' ')} {count}" for reason, count in entry.reasons.items())
    return (escape(entry.display_name), str(entry.requested), str(entry.obtained), str(entry.topped_up), reasons)
