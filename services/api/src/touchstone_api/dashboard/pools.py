"""What happened to the images of each pool, arranged for reading: curated, and retrieved from links."""

from collections.abc import Sequence
from dataclasses import dataclass

from touchstone_contracts.catalogue import ClassLabel
from touchstone_contracts.curation import CurationReport, MemorisationReport, ScoreHistogram, drop_words
from touchstone_contracts.views import LinkReport, LinksOfClass

MOST_CLASSES = 20


@dataclass(frozen=True)
class ClassCuration:
    name: str
    obtained: int
    dropped: tuple[int, ...]
    """By reason, in the order of the pool's `reasons`."""
    kept: int


@dataclass(frozen=True)
class ScoreBar:
    """Images of one range of scores in a drawing of WIDTH x HEIGHT units; both bars stand on its floor."""

    left: float
    width: float
    obtained: float
    kept: float


@dataclass(frozen=True)
class ScoreDrawing:
    bars: tuple[ScoreBar, ...]
    lowest: float
    highest: float

    WIDTH = 600.0
    HEIGHT = 90.0


@dataclass(frozen=True)
class CuratedPool:
    """Before and after: the classes that kept the smallest share first."""

    target: str
    arm: str
    obtained: int
    kept: int
    coverage: float
    reasons: tuple[str, ...]
    classes: tuple[ClassCuration, ...]
    """At most MOST_CLASSES."""
    all_classes: int
    scores: ScoreDrawing | None
    memorisation: MemorisationReport | None


def curated_pool(target: str, arm: str, report: CurationReport, labels: Sequence[ClassLabel]) -> CuratedPool:
    reasons = {reason: words for reason, words in drop_words().items() if reason in report.dropped_by_class}
    classes = [
        ClassCuration(
            label.display_name,
            report.obtained_by_class[label.id],
            tuple(report.dropped_by_class[reason][label.id] for reason in reasons),
            report.kept_by_class[label.id],
        )
        for label in labels
    ]
    return CuratedPool(
        target=target,
        arm=arm,
        obtained=sum(report.obtained_by_class),
        kept=sum(report.kept_by_class),
        coverage=report.class_coverage,
        reasons=tuple(reasons.values()),
        classes=tuple(sorted(classes, key=lambda entry: _share(entry.kept, entry.obtained))[:MOST_CLASSES]),
        all_classes=len(classes),
        scores=draw_scores(report.scores) if report.scores else None,
        memorisation=report.memorisation,
    )


def draw_scores(scores: ScoreHistogram) -> ScoreDrawing:
    width, tallest = ScoreDrawing.WIDTH / len(scores.obtained), max(scores.obtained)
    bars = (
        ScoreBar(
            left=round(number * width, 1),
            width=round(width - 2, 1),
            obtained=round(ScoreDrawing.HEIGHT * obtained / tallest, 1),
            kept=round(ScoreDrawing.HEIGHT * kept / tallest, 1),
        )
        for number, (obtained, kept) in enumerate(zip(scores.obtained, scores.kept, strict=True))
    )
    return ScoreDrawing(tuple(bars), scores.edges[0], scores.edges[-1])


def most_rotten(report: LinkReport) -> list[LinksOfClass]:
    """The classes that obtained the smallest share of what they asked for, at most MOST_CLASSES."""
    return sorted(report.classes, key=lambda entry: _share(entry.obtained, entry.requested))[:MOST_CLASSES]


def _share(part: int, whole: int) -> float:
    """Nothing of nothing counts as nothing: such a class is the first to look at."""
    return part / whole if whole else 0.0
