"""Label cards as text: one table of all arms, and one of images per class."""

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from touchstone_contracts.views import ArmLabels, LabelCards

from touchstone.fitting import print_table

Row = tuple[str, ...]


def label_headings(found: LabelCards) -> Row:
    judged = ("judge agrees", "judge right on test images") if found.judge else ()
    return ("target", "arm", "images", *judged, "caption names another class", "several labels", "cosine in a class")


def label_rows(found: LabelCards) -> Iterator[Row]:
    """Shares in percent; empty where something does not apply."""
    for entry in found.cards:
        card = entry.card
        captions = card.captions and f"{100 * card.captions.other / card.captions.images:.1f}"
        several = "" if card.labels is None else str(card.labels.several)
        cosine = "" if card.diversity is None else f"{card.diversity.mean_cosine:.3f}"
        judged = _judged(entry) if found.judge else ()
        yield entry.target, entry.arm, str(card.images), *judged, captions or "", several, cosine


def _judged(entry: ArmLabels) -> Row:
    agreement = entry.card.agreement
    if agreement is None or agreement.share is None:
        return "", ""
    return f"{100 * agreement.share:.1f}", f"{100 * agreement.judge_accuracy:.1f}"


def distance_headings() -> Row:
    return ("target", "arm", "images", "squared MMD", "floor", "density", "coverage", "expected coverage")


def distance_rows(found: LabelCards) -> Iterator[Row]:
    """Of the arms that were compared with the target's test images; squared MMD with its standard error."""
    for entry in found.cards:
        if (apart := entry.card.distribution) is not None:
            distance = f"{apart.discrepancy:.4f} ± {apart.discrepancy_error:.4f}"
            numbers = (apart.floor, apart.density, apart.coverage, apart.expected_coverage)
            cells = ("{:.4f}", "{:.2f}", "{:.2f}", "{:.2f}")
            shown = (cell.format(number) for cell, number in zip(cells, numbers, strict=True))
            yield entry.target, entry.arm, str(apart.images), distance, *shown


def source_headings() -> Row:
    return ("target", "arms", "AUC", "encoder", "accuracy", "change", "by chance", "p")


def source_rows(found: LabelCards) -> Iterator[Row]:
    """Whether the compared arms can be told apart, and what each encoder loses without that, in points."""
    for entry in found.sources:
        if (probe := entry.probe) is None:
            continue
        arms, auc = ", ".join(entry.arms), f"{probe.auc:.3f} ± {probe.auc_error:.3f}"
        encoders = ("untouched", *(f"adapted on {arm}" for arm in entry.arms))
        for encoder, reliance in zip(encoders, (probe.untouched, *probe.adapted), strict=True):
            if reliance is not None:
                chance = f"{100 * reliance.random_low:+.1f} to {100 * reliance.random_high:+.1f}"
                numbers = (f"{100 * reliance.accuracy:.1f}", f"{100 * reliance.change:+.1f}", chance)
                yield entry.target, arms, auc, encoder, *numbers, f"{reliance.p_value:.3f}"


def print_label_cards(console: Console, found: LabelCards) -> None:
    if not found.cards:
        console.print("No labels are measured: the arms are not curated yet, or the experiment is older than that.")
        return
    if found.judge is None:
        console.print("The experiment names no judge_encoder, so nothing says how many labels are right.")
    judge = f"; the judge is {found.judge}" if found.judge else ""
    _print(console, f"Labels of the curated images, in %{judge}", label_headings(found), list(label_rows(found)))
    distances = list(distance_rows(found))
    if distances:
        _print(console, "Distance to the target's test images (± standard error)", distance_headings(), distances)
    sources = list(source_rows(found))
    if sources:
        _print(console, "Telling the compared arms apart, and accuracy without that", source_headings(), sources)
    sizes = [
        (entry.target, entry.arm, str(size.size), f"{size.fewest:g}", f"{size.median:g}", f"{size.most:g}",
         str(size.short), str(size.empty))
        for entry in found.cards
        for size in entry.card.balance
    ]  # fmt: skip
    headings = ("target", "arm", "size", "fewest", "median", "most", "classes below their share", "without images")
    _print(console, "Images per class", headings, sizes)


def _print(console: Console, title: str, headings: Sequence[str], rows: Sequence[Row]) -> None:
    table = Table(title=title, title_justify="left")
    for position, heading in enumerate(headings):
        table.add_column(heading, justify="left" if position < 2 else "right")
    for row in rows:
        table.add_row(*row)
    print_table(console, table)
