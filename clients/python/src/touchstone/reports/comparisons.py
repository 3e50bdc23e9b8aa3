"""What the verdict says: differences with intervals and p-values, changes by class, exchange rates, costs."""

from collections.abc import Iterable, Iterator

from touchstone_contracts.adaptation import METRICS
from touchstone_contracts.catalogue import on_test_set
from touchstone_contracts.class_groups import ClassGroup, GroupChange
from touchstone_contracts.views import Answer, ComparisonResult, Verdict

from touchstone.reports.blocks import Block, Bullets, Paragraph, Table
from touchstone.tables import cost_words, exchange_row, per_point_words
from touchstone.untouched import sample_sentence, untouched_headings, untouched_rows, untouched_title


def verdict_blocks(verdict: Verdict) -> Iterator[Block]:
    yield Paragraph(verdict.headline, strong=True)
    yield _comparisons(verdict)
    if verdict.class_groups:
        yield _class_groups(verdict)
    if verdict.target_sample:
        yield Paragraph(sample_sentence(verdict.target_sample))
    if verdict.would_decide:
        yield Paragraph(f"To decide it: {verdict.would_decide}")
    if verdict.caveats:
        yield Paragraph("Caveats:")
        yield Bullets(verdict.caveats)
    if verdict.registration is not None:
        yield Paragraph("Declared before it ran:")
        yield Bullets(tuple(f"{heading}: {text}" for heading, text in verdict.registration.lines))
    if verdict.exchange_rates:
        yield _exchange_rates(verdict)
    if verdict.costs:
        yield from _costs(verdict)
    if verdict.baseline:
        rows = tuple(untouched_rows(verdict))
        yield Table("untouched", untouched_title(verdict), untouched_headings(verdict), rows)


def overview(compared: Iterable[tuple[str, Verdict]]) -> Table:
    """The primary endpoint of each experiment."""
    rows = tuple(
        (name, f"{verdict.a} - {verdict.b}", *_numbers(verdict.primary), _answer(verdict)) for name, verdict in compared
    )
    headings = ("experiment", "compared", "points", "interval", "answer")
    return Table("overview", "Primary endpoints", headings, rows)


def _comparisons(verdict: Verdict) -> Table:
    """The primary endpoint first; a mean over sizes has no size."""
    rows = tuple(
        (
            on_test_set(entry.target or "all targets", entry.test_set),
            METRICS[entry.metric].words,
            "all" if entry.size is None else str(entry.size),
            *_numbers(entry),
            p_words(entry.p_value),
            "" if entry.adjusted_p_value is None else p_words(entry.adjusted_p_value),
        )
        for entry in (verdict.primary, *verdict.secondary)
    )
    level = f"{100 * verdict.confidence:g} % interval"
    return Table(
        name="comparisons",
        title=f"{verdict.a} - {verdict.b} in points of accuracy; the first row is the primary endpoint",
        headings=("target", "metric", "size", "points", level, "p", "p after Holm"),
        rows=rows,
    )


def p_words(value: float) -> str:
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def _numbers(entry: ComparisonResult) -> tuple[str, str]:
    return f"{100 * entry.difference:+.1f}", f"{100 * entry.low:+.1f} to {100 * entry.high:+.1f}"


def _class_groups(verdict: Verdict) -> Table:
    """Changes by what classes are like; with fewer columns where there is no untouched encoder."""
    named = [change.arm for change in verdict.class_groups[0].changes]
    columns = [f"{arm} - untouched" if arm else f"{verdict.a} - {verdict.b}" for arm in named]
    rows = tuple(
        (group.target, _grouped_by(group), str(group.classes), *map(_change, group.changes))
        for group in verdict.class_groups
    )
    title = f"Mean change over classes that are alike, in points with {100 * verdict.confidence:.0f} % intervals"
    return Table("class-groups", title, ("target", "classes with", "number", *columns), rows)


def _grouped_by(group: ClassGroup) -> str:
    if group.by == "difficulty":
        return f"{100 * group.lowest:.0f} to {100 * group.highest:.0f} % by the untouched encoder"
    return f"{group.lowest:.0f} to {group.highest:.0f} images upstream"


def _change(change: GroupChange) -> str:
    return f"{100 * change.difference:+.1f} ({100 * change.low:+.1f} to {100 * change.high:+.1f})"


def _exchange_rates(verdict: Verdict) -> Table:
    title = (
        f"Exchange rate: numbers of images with equal {METRICS[verdict.primary.metric].words} "
        f"({100 * verdict.confidence:g} % interval of the images of {verdict.b})"
    )
    rows = tuple(map(exchange_row, verdict.exchange_rates))
    return Table("exchange-rates", title, ("target", verdict.a, verdict.b, "interval"), rows, texts=1)


def _costs(verdict: Verdict) -> Iterator[Block]:
    def row(arm: str, metric: str, *cells: str) -> tuple[str, ...]:
        return arm, METRICS[metric].words, *cells

    rows = tuple(
        row(
            entry.arm,
            entry.metric,
            cost_words(entry.sourcing),
            cost_words(entry.adapting),
            "" if entry.gain is None else f"{100 * entry.gain:+.1f}",
            per_point_words(entry),
        )
        for entry in verdict.costs
    )
    headings = ("arm", "metric", "images", "adapting", "gain in points", "one point of gain")
    yield Table("costs", "Cost of one model, and of one point above the untouched encoder", headings, rows)
    prices = (("CPU core", verdict.prices.cpu_hour), ("GPU", verdict.prices.gpu_hour))
    known = [f"¤ {price:g} for an hour of a {what}" for what, price in prices if price is not None]
    if known:
        yield Paragraph(f"Prices, where ¤ is their currency: {', '.join(known)}.")


def _answer(verdict: Verdict) -> str:
    words: dict[Answer, str] = {
        "a_better": f"{verdict.a} is better",
        "b_better": f"{verdict.b} is better",
        "no_difference": f"no difference over {100 * verdict.delta:g} points",
        "undecided": "undecided",
    }
    return words[verdict.answer]
