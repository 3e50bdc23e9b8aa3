"""What became of an arm's images from one stage to the next: asked for, obtained, kept, drawn."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from touchstone_contracts.curation import CurationCounts, CurationReport, drop_words
from touchstone_contracts.views import DrawnImages

BAR_WIDTH = 100.0


@dataclass(frozen=True)
class FunnelStage:
    words: str
    removed: int | None
    """None where nothing is counted as removed."""
    left: int
    width: float
    """Of the bar, from 0 to BAR_WIDTH: the share of the largest stage."""
    drop_reason: str = ""
    """Of the images that it removed, which can be looked at; empty where there are none."""


@dataclass(frozen=True)
class Funnel:
    target: str
    arm: str
    stages: tuple[FunnelStage, ...]


def funnel(
    target: str, arm: str, counts: CurationCounts, report: CurationReport | None, drawn: Sequence[DrawnImages]
) -> Funnel:
    """Stages that removed nothing are left out."""
    largest = max(counts.requested, counts.obtained, *(entry.images or 0 for entry in drawn), 1)
    stages = (
        FunnelStage(words, removed, left, round(BAR_WIDTH * left / largest, 1), reason)
        for words, removed, left, reason in _numbers(counts, report, drawn)
    )
    return Funnel(target, arm, tuple(stages))


def _numbers(
    counts: CurationCounts, report: CurationReport | None, drawn: Sequence[DrawnImages]
) -> Iterator[tuple[str, int | None, int, str]]:
    """(words, removed, left, reason to drop an image)"""
    yield "Asked for", None, counts.requested, ""
    yield "Found or generated", max(0, counts.requested - counts.obtained), counts.obtained, ""
    left, words = counts.obtained, drop_words()
    for reason, removed in _removed(counts, report).items():
        left -= removed
        yield words[reason], removed, left, reason
    yield "Kept by curation", None, counts.kept, ""
    for entry in drawn:
        if entry.images is not None:
            yield f"Drawn for size {entry.size}", None, entry.images, ""


def _removed(counts: CurationCounts, report: CurationReport | None) -> Mapping[str, int]:
    """By reason where curation reported them, else by stage, in the order of the stages."""
    found = counts.dropped if report is None else {key: sum(n) for key, n in report.dropped_by_class.items()}
    return {reason: found[reason] for reason in drop_words() if found.get(reason)}
