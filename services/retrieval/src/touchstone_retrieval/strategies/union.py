"""Text matches first, then semantic neighbours; what both find is recorded as a text match."""

from collections.abc import Iterable, Iterator, Sequence

from touchstone_contracts.arms.retrieval import Union
from touchstone_contracts.catalogue import ClassLabel

from touchstone_retrieval.strategies.findings import FindingReport, Findings, first_of_each_image
from touchstone_retrieval.strategies.semantic import find_by_meaning
from touchstone_retrieval.strategies.text_match import find_by_text
from touchstone_retrieval.strategies.upstream import SearchableUpstream


def find_by_both(
    strategy: Union, upstream: SearchableUpstream, classes: Sequence[ClassLabel], templates: Sequence[str]
) -> Iterator[Findings]:
    by_text: Iterable[Findings] = find_by_text(strategy.text_match, upstream, classes)
    decided: set[str] = set()
    if strategy.captions_decide:
        by_text = list(by_text)
        decided = {upstream.image_ids[finding.row] for found, _ in by_text for finding in found}
    by_meaning = find_by_meaning(strategy.semantic, upstream, classes, templates)
    for (text, text_report), (meaning, meaning_report) in zip(by_text, by_meaning, strict=True):
        elsewhere = decided.difference(upstream.image_ids[finding.row] for finding in text)
        near = [finding for finding in meaning if upstream.image_ids[finding.row] not in elsewhere]
        first, again = first_of_each_image([*text, *near], upstream.image_ids)
        # An image both found was kept by each of the two and is kept once here.
        gone = len(meaning) - len(near)
        corrected = FindingReport(found_again=again, kept=-again - gone, named_another=gone)
        yield first, text_report + meaning_report + corrected
