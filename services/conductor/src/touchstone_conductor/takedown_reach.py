"""What an image has been used for, by the graph of steps: what is made again without it, and what stays and is marked.
Pure."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from touchstone_contracts.steps import (
    ADAPT_ENCODER,
    AUDIT_POOL,
    CHECK_TARGET,
    COMPARE_SPLITS,
    EMBED_IMAGES,
    EVALUATE_ENCODER,
    INDEX_UPSTREAM,
    INGEST_IMAGES,
    JUDGE_EXPERIMENT,
    PROBE_SOURCES,
    SEARCH_UPSTREAM,
)
from touchstone_contracts.values import StepId
from touchstone_store.takedowns import Reader

MEASURED = frozenset(
    contract.name
    for contract in (ADAPT_ENCODER, CHECK_TARGET, COMPARE_SPLITS, EVALUATE_ENCODER, JUDGE_EXPERIMENT, PROBE_SOURCES)
)
"""Kinds of steps whose results stay: they are about what was, and hold no image."""
READS_ALL = {
    INGEST_IMAGES.name: {EMBED_IMAGES.name, AUDIT_POOL.name, SEARCH_UPSTREAM.name},
    EMBED_IMAGES.name: {INDEX_UPSTREAM.name},
    INDEX_UPSTREAM.name: set(),
}
"""Of steps whose results most readers use a part of: the kinds of readers that hold whatever they hold. Of others it
is known by their own images whether they hold the one that is taken down."""


@dataclass
class Reach:
    remade: set[StepId] = field(default_factory=set)
    """Their results hold the image, or follow from it; they are computed again."""
    marked: set[StepId] = field(default_factory=set)
    """Their results were computed with it, and stay."""


def reach_of(
    holders: Mapping[StepId, str],
    used: Collection[StepId],
    readers_of: Callable[[Collection[StepId]], Collection[Reader]],
) -> Reach:
    """`holders`: by kind, the steps with the image among their images; `used`: those of them that hand it on, where
    the others have dropped it."""
    reach, kinds = Reach(remade=set(holders)), dict(holders)
    level = set(used)
    while level:
        found = {
            reader
            for reader in readers_of(level)
            if _follows(kinds[reader.of], reader.kind) and reader.id not in reach.remade | reach.marked
        }
        kinds |= {reader.id: reader.kind for reader in found}
        for reader in found:
            (reach.marked if reader.kind in MEASURED else reach.remade).add(reader.id)
        level = {reader.id for reader in found}
    return reach


def _follows(kind: str, reader: str) -> bool:
    if reader in MEASURED:
        return kind not in {EMBED_IMAGES.name, INDEX_UPSTREAM.name}
    if kind in MEASURED:
        return False
    return kind not in READS_ALL or reader in READS_ALL[kind]
