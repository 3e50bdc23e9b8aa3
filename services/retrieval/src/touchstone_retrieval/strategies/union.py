"""Text matches first, then semantic neighbours; what both find is recorded as a text match."""

from collections.abc import Iterator, Sequence

from touchstone_contracts.arms.retrieval import Union
from touchstone_contracts.catalogue import ClassLabel

from touchstone_retrieval.strategies.findings import FindingReport, Findings, first_of_each_image
from touchstone_retrieval.strategies.semantic import find_by_meaning
from touchstone_retrieval.strategies.text_match import find_by_text
from touchstone_retrieval.strategies.upstream import SearchableUpstream


def find_by_both(
    strategy: Union, upstream: SearchableUpstream, classes: Sequence[ClassLabel], templates: Sequence[str]
) -> Iterator[Findings]:
    by_text = find_by_text(strategy.text_match, upstream, classes)
    by_meaning = find_by_meaning(strategy.semantic, upstream, classes, templates)
    for (text, text_report), (meaning, meaning_report) in zip(by_text, by_meaning, strict=True):
        first, again = first_of_each_image([*text, *meaning], upstream.image_ids)
        # An image both found was kept by each of the two and is kept once here.
        yield first, text_report + meaning_report + FindingReport(found_again=again, kept=-again)
