"""From a strategy of the contract to the function that carries it out."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from touchstone_contracts.arms.retrieval import RandomDraw, Semantic, Strategy, TextMatch, Union
from touchstone_contracts.catalogue import ClassLabel
from touchstone_contracts.registry import Implementations
from touchstone_runtime.serving import ProgressFunction, no_progress

from touchstone_retrieval.strategies.findings import FOUND, FindingReport, Findings, found_table
from touchstone_retrieval.strategies.random_draw import draw_at_random
from touchstone_retrieval.strategies.semantic import find_by_meaning
from touchstone_retrieval.strategies.text_match import find_by_text
from touchstone_retrieval.strategies.union import find_by_both
from touchstone_retrieval.strategies.upstream import SearchableUpstream


@dataclass(frozen=True)
class Task:
    """What is looked for, and where."""

    upstream: SearchableUpstream
    classes: Sequence[ClassLabel]
    templates: Sequence[str]
    rng: np.random.Generator


STRATEGY_FUNCTIONS = Implementations[Callable[[Any, Task], Iterator[Findings]]]("retrieval strategy")
"""(strategy, task) -> findings class by class, or of all classes at once."""
STRATEGY_FUNCTIONS.register(TextMatch, lambda strategy, task: find_by_text(strategy, task.upstream, task.classes))
STRATEGY_FUNCTIONS.register(
    Semantic, lambda strategy, task: find_by_meaning(strategy, task.upstream, task.classes, task.templates)
)
STRATEGY_FUNCTIONS.register(
    Union, lambda strategy, task: find_by_both(strategy, task.upstream, task.classes, task.templates)
)
STRATEGY_FUNCTIONS.register(
    RandomDraw,
    lambda strategy, task: iter([draw_at_random(strategy, task.upstream, task.classes, task.templates, task.rng)]),
)


def find_images(
    strategy: Strategy,
    upstream: SearchableUpstream,
    classes: Sequence[ClassLabel],
    templates: Sequence[str],
    rng: np.random.Generator,
    progress: ProgressFunction = no_progress,
) -> tuple[pa.Table, FindingReport]:
    """Findings of all classes as a table of the schema FOUND. Raises Invalid at a strategy that is not registered."""
    found = [FOUND.empty_table()]
    report = FindingReport()
    findings = STRATEGY_FUNCTIONS.of(strategy)(strategy, Task(upstream, classes, templates, rng))
    for done, (part, report_of_part) in enumerate(findings, 1):
        found.append(found_table(part))
        report += report_of_part
        progress(done, len(classes))
    return pa.concat_tables(found), report
