"""What an experiment found, as Markdown: to paste into a study's README, an issue or a paper's appendix."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from touchstone_contracts.adaptation import METRICS, Metric
from touchstone_contracts.catalogue import on_test_set
from touchstone_contracts.class_groups import ClassGroup, GroupChange
from touchstone_contracts.views import Answer, ComparisonResult, LabelCards, Results, SummaryRow, Verdict

from touchstone.label_tables import (
    distance_headings,
    distance_rows,
    label_headings,
    label_rows,
    source_headings,
    source_rows,
)
from touchstone.tables import mean_and_std
from touchstone.untouched import sample_sentence, untouched_headings, untouched_rows, untouched_title


class Finding(NamedTuple):
    """One experiment: its name and what it measured; no verdict where it compares nothing."""

    name: str
    results: Results
    verdict: Verdict | None
    labels: LabelCards | None = None


def markdown_reports(findings: Sequence[Finding]) -> str:
    """A report each; before several, a table of their primary endpoints."""
    compared = [(finding.name, finding.verdict) for finding in findings if finding.verdict is not None]
    overview = [_overview(compared)] if len(compared) > 1 else []
    return "\n".join([*overview, *(markdown_report(finding) for finding in findings)])


def markdown_report(finding: Finding) -> str:
    """A table of each metric and, where arms were compared, the verdict with its intervals."""
    summary = finding.results.summary
    metrics = [metric for metric in METRICS if any(row.metric == metric for row in summary)]
    parts = [f"### {finding.name}", *(_accuracies(summary, metric) for metric in metrics)]
    parts += [_verdict(finding.verdict)] if finding.verdict else []
    parts += [_labels(finding.labels)] if finding.labels and finding.labels.cards else []
    return "\n\n".join(parts) + "\n"


def _labels(found: LabelCards) -> str:
    judge = f"the judge is {found.judge}" if found.judge else "no judge_encoder is named, so none are known to be right"
    labels = f"Labels of the curated images, in %; {judge}:\n\n" + "\n".join(
        _table(label_headings(found), label_rows(found))
    )
    further = (
        ("Distance of the curated images to the target's test images", distance_headings(), list(distance_rows(found))),
        ("Telling the compared arms apart by their images, and points of accuracy without that", source_headings(),
         list(source_rows(found))),
    )  # fmt: skip
    tables = [
        "\n".join([f"{title}, ± standard error:", "", *_table(headings, rows)])
        for title, headings, rows in further
        if rows
    ]
    return "\n\n".join([labels, *tables])


def _overview(compared: Iterable[tuple[str, Verdict]]) -> str:
    rows = (
        (name, f"{verdict.a} - {verdict.b}", *_numbers(verdict.primary), _answer(verdict)) for name, verdict in compared
    )
    return "\n".join(_table(("experiment", "compared", "points", "interval", "answer"), rows)) + "\n"


def _accuracies(summary: Sequence[SummaryRow], metric: Metric) -> str:
    """Sizes across; the untouched encoder has no size and stands in every column."""
    sizes = sorted({row.size for row in summary if row.size})
    measured = [row for row in summary if row.metric == metric]
    cells = {(on_test_set(row.target, row.test_set), row.arm, row.size): mean_and_std(row) for row in measured}
    arms = dict.fromkeys((target, arm) for target, arm, _ in cells)
    rows = (
        (target, arm, *(cells.get((target, arm, size)) or cells.get((target, arm, 0), "") for size in sizes))
        for target, arm in arms
    )
    title = f"{METRICS[metric].words.capitalize()} in %, mean ± standard deviation over seeds:"
    return f"{title}\n\n" + "\n".join(_table(("target", "arm", *map(str, sizes)), rows))


def _verdict(verdict: Verdict) -> str:
    level = f"{100 * verdict.confidence:.0f} % interval"
    rows = ((_where(entry), METRICS[entry.metric].words, *_numbers(entry)) for entry in _averages(verdict))
    table = _table((f"{verdict.a} - {verdict.b}", "metric", "points", level), rows)
    groups = [_class_groups(verdict)] if verdict.class_groups else []
    notes = [f"To decide it: {verdict.would_decide}"] if verdict.would_decide else []
    if verdict.target_sample:
        notes = [sample_sentence(verdict.target_sample), *notes]
    notes += [*verdict.warnings, *verdict.added_later, *_declared(verdict)]
    said = (f"\n{note}" for note in (*groups, *notes))
    return "\n".join([f"**{verdict.headline}**", "", *table, *said, *_untouched(verdict)])


def _untouched(verdict: Verdict) -> list[str]:
    if not verdict.baseline:
        return []
    title = untouched_title(verdict).replace("*", "\\*")
    rows = [[cell.replace("*", "\\*") for cell in row] for row in untouched_rows(verdict)]
    return ["", f"{title}:", "", *_table(untouched_headings(verdict), rows)]


def _declared(verdict: Verdict) -> list[str]:
    """One paragraph, a list of what was declared before the experiment ran."""
    if verdict.registration is None:
        return []
    lines = (f"- {heading}: {text}" for heading, text in verdict.registration.lines)
    return ["\n".join(["Declared before it ran:", "", *lines])]


def _class_groups(verdict: Verdict) -> str:
    """Changes by what classes are like; with fewer columns where there is no untouched encoder."""
    named = [change.arm for change in verdict.class_groups[0].changes]
    columns = [f"{arm} - untouched" if arm else f"{verdict.a} - {verdict.b}" for arm in named]
    rows = (
        (group.target, _grouped_by(group), str(group.classes), *map(_change, group.changes))
        for group in verdict.class_groups
    )
    title = f"Mean change over classes that are alike, in points with {100 * verdict.confidence:.0f} % intervals:"
    return "\n".join([title, "", *_table(("target", "classes with", "number", *columns), rows)])


def _grouped_by(group: ClassGroup) -> str:
    if group.by == "difficulty":
        return f"{100 * group.lowest:.0f} to {100 * group.highest:.0f} % by the untouched encoder"
    return f"{group.lowest:.0f} to {group.highest:.0f} images upstream"


def _change(change: GroupChange) -> str:
    return f"{100 * change.difference:+.1f} ({100 * change.low:+.1f} to {100 * change.high:+.1f})"


def _averages(verdict: Verdict) -> Iterator[ComparisonResult]:
    """The primary endpoint, then the secondary ones that are means over sizes."""
    yield verdict.primary
    yield from (entry for entry in verdict.secondary if entry.size is None)


def _answer(verdict: Verdict) -> str:
    words: dict[Answer, str] = {
        "a_better": f"{verdict.a} is better",
        "b_better": f"{verdict.b} is better",
        "no_difference": f"no difference over {100 * verdict.delta:g} points",
        "undecided": "undecided",
    }
    return words[verdict.answer]


def _where(entry: ComparisonResult) -> str:
    return on_test_set(entry.target or "all targets", entry.test_set)


def _numbers(entry: ComparisonResult) -> tuple[str, str]:
    return f"{100 * entry.difference:+.1f}", f"{100 * entry.low:+.1f} to {100 * entry.high:+.1f}"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (headings, ["---"] * len(headings), *rows)]
