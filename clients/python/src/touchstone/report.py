"""What an experiment found, as Markdown, as one HTML file, or as LaTeX."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from touchstone_contracts.adaptation import METRICS
from touchstone_contracts.experiment import CONFIDENCE
from touchstone_contracts.views import ExperimentDetail, ExperimentManifest, LabelCards, Results, Verdict

from touchstone.label_tables import (
    distance_headings,
    distance_rows,
    label_headings,
    label_rows,
    source_headings,
    source_rows,
)
from touchstone.reports.accuracies import Spread, accuracy_table
from touchstone.reports.blocks import Block, Heading, Paragraph, Picture, Table
from touchstone.reports.comparisons import overview, verdict_blocks
from touchstone.reports.evidence import evidence_blocks, reference_blocks
from touchstone.reports.html import to_html
from touchstone.reports.latex import to_latex
from touchstone.reports.markdown import to_markdown
from touchstone.reports.methods import methods_paragraph


class Finding(NamedTuple):
    """One experiment: its name and what it measured; no verdict where it compares nothing. Methods and evidence need
    `detail` and `manifest`."""

    name: str
    results: Results
    verdict: Verdict | None
    labels: LabelCards | None = None
    detail: ExperimentDetail | None = None
    manifest: ExperimentManifest | None = None


def markdown_report(finding: Finding, spread: Spread = "std") -> str:
    return markdown_reports([finding], spread)


def markdown_reports(findings: Sequence[Finding], spread: Spread = "std", picture: Picture | None = None) -> str:
    """A report each; before several, a table of their primary endpoints. `picture` is that of the first."""
    return to_markdown(report_blocks(findings, spread, picture))


def html_reports(findings: Sequence[Finding], spread: Spread = "std", picture: Picture | None = None) -> str:
    """One file that needs no other."""
    return to_html(_title(findings), report_blocks(findings, spread, picture))


def latex_reports(findings: Sequence[Finding], spread: Spread = "std", picture: Picture | None = None) -> str:
    """A document to compile, or to copy tables from; labels are `tab:touchstone-accuracies-zero-shot` and so on."""
    return to_latex(report_blocks(findings, spread, picture), "touchstone")


def report_blocks(findings: Sequence[Finding], spread: Spread, picture: Picture | None) -> Iterator[Block]:
    compared = [(finding.name, finding.verdict) for finding in findings if finding.verdict is not None]
    if len(compared) > 1:
        yield overview(compared)
    for number, finding in enumerate(findings):
        yield from _finding_blocks(finding, spread, picture if number == 0 else None)
    manifests = [finding.manifest for finding in findings if finding.manifest is not None]
    if manifests:
        yield from reference_blocks(manifests)


def _title(findings: Sequence[Finding]) -> str:
    return ", ".join(finding.name for finding in findings)


def _finding_blocks(finding: Finding, spread: Spread, picture: Picture | None) -> Iterator[Block]:
    yield Heading(finding.name, level=1)
    summary, verdict = finding.results.summary, finding.verdict
    confidence = verdict.confidence if verdict else CONFIDENCE
    for metric in METRICS:
        if any(row.metric == metric for row in summary):
            yield accuracy_table(summary, metric, spread, confidence)
    if picture is not None:
        yield picture
    if verdict is not None:
        yield from verdict_blocks(verdict)
    if finding.labels and finding.labels.cards:
        yield from _labels(finding.labels)
    if finding.manifest is not None and finding.detail is not None:
        yield Heading("Methods")
        yield Paragraph(methods_paragraph(finding.manifest, verdict))
        yield from evidence_blocks(finding.manifest, finding.detail, finding.results, verdict)


def _labels(found: LabelCards) -> Iterator[Block]:
    judge = f"the judge is {found.judge}" if found.judge else "no judge_encoder is named, so none are known to be right"
    title = f"Labels of the curated images, in %; {judge}"
    yield Table("labels", title, label_headings(found), tuple(label_rows(found)))
    further = (
        ("distances", "Distance of the curated images to the target's test images", distance_headings(),
         tuple(distance_rows(found))),
        ("sources", "Telling the compared arms apart by their images, and points of accuracy without that",
         source_headings(), tuple(source_rows(found))),
    )  # fmt: skip
    for name, title, headings, rows in further:
        if rows:
            yield Table(name, f"{title}, ± standard error", headings, rows)
