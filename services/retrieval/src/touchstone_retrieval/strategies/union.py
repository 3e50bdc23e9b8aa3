"""Text matches first, then semantic neighbours; what both find is recorded as a text match."""

from collections.abc import Sequence

from touchstone_contracts.arms.retrieval import Union
from touchstone_contracts.catalogue import ClassLabel

from touchstone_retrieval.strategies.findings import FindingReport, Findings, first_of_each_image
from touchstone_retrieval.strategies.semantic import find_by_meaning
from touchstone_retrieval.strategies.text_match import find_by_text
from touchstone_retrieval.strategies.upstream import SearchableUpstream


def find_by_both(
    strategy: Union, upstream: SearchableUpstream, label: ClassLabel, templates: Sequence[str]
) -> Findings:
    by_text, text_report = find_by_text(strategy.text_match, upstream, label)
    by_meaning, meaning_report = find_by_meaning(strategy.semantic, upstream, label, templates)
    first, again = first_of_each_image([*by_text, *by_meaning], upstream.image_ids)
    # An image both found was kept by each of the two and is kept once here.
    return first, text_report + meaning_report + FindingReport(found_again=again, kept=-again)
