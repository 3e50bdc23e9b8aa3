"""From a strategy of the contract to the function that carries it out."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from touchstone_contracts.arms.retrieval import RandomDraw, Semantic, Strategy, TextMatch, Union
from touchstone_contracts.catalogue import ClassLabel
from touchstone_runtime.serving import ProgressFunction, no_progress

from touchstone_retrieval.strategies.findings import FOUND, FindingReport, Findings, found_table
from touchstone_retrieval.strategies.random_draw import draw_at_random
from touchstone_retrieval.strategies.semantic import find_by_meaning
from touchstone_retrieval.strategies.text_match import find_by_text
from touchstone_retrieval.strategies.union import find_by_both
from touchstone_retrieval.strategies.upstream import SearchableUpstream


def find_images(
    strategy: Strategy,
    upstream: SearchableUpstream,
    classes: Sequence[ClassLabel],
    templates: Sequence[str],
    rng: np.random.Generator,
    progress: ProgressFunction = no_progress,
) -> tuple[pa.Table, FindingReport]:
    """Findings of all classes, class by class, as a table of the schema FOUND. Only random draws use `rng`."""
    if isinstance(strategy, RandomDraw):
        drawn, report = draw_at_random(strategy, upstream, classes, templates, rng)
        return found_table(drawn), report
    found = [FOUND.empty_table()]
    report = FindingReport()
    for done, (of_class, report_of_class) in enumerate(_class_by_class(strategy, upstream, classes, templates), 1):
        found.append(found_table(of_class))
        report += report_of_class
        progress(done, len(classes))
    return pa.concat_tables(found), report


def _class_by_class(
    strategy: TextMatch | Semantic | Union,
    upstream: SearchableUpstream,
    classes: Sequence[ClassLabel],
    templates: Sequence[str],
) -> Iterator[Findings]:
    match strategy:
        case TextMatch():
            return find_by_text(strategy, upstream, classes)
        case Semantic():
            return find_by_meaning(strategy, upstream, classes, templates)
        case Union():
            return find_by_both(strategy, upstream, classes, templates)
