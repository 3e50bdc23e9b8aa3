"""Changes by difficulty of the classes and by their upstream images, arranged for a table and a drawing."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from touchstone_contracts.class_groups import ClassGroup, GroupChange, GroupedBy
from touchstone_contracts.views import Verdict

WORDS: dict[GroupedBy, str] = {
    "difficulty": "accuracy of the untouched encoder",
    "upstream_images": "upstream images of the class",
}
WIDTH, HEIGHT, MARGIN, FOOT = 600.0, 170.0, 48.0, 28.0
"""Of a drawing; FOOT is below the axis."""
BETWEEN = 26.0
"""From one arm's interval to the next within a group."""


@dataclass(frozen=True)
class Bar:
    """The interval of one change, at the x position of its series in the group."""

    series: int
    x: float
    low: float
    high: float
    middle: float


@dataclass(frozen=True)
class GroupsDrawing:
    zero: float
    bars: tuple[Bar, ...]
    labels: tuple[tuple[float, str], ...]
    """(x, range of the group)"""
    ticks: tuple[tuple[float, float], ...]
    """(y, points)"""


@dataclass(frozen=True)
class GroupsOfTarget:
    target: str
    words: str
    groups: tuple[ClassGroup, ...]
    series: tuple[str, ...]
    """What each change of a group is of."""
    drawing: GroupsDrawing

    def range(self, group: ClassGroup) -> str:
        return range_words(group)


def groups_of_targets(verdict: Verdict) -> list[GroupsOfTarget]:
    """One entry for each target and thing that its classes are grouped by."""
    return [
        GroupsOfTarget(target, WORDS[by], groups, tuple(_series(change, verdict) for change in groups[0].changes),
                       draw_groups(groups))
        for (target, by), found in groupby(verdict.class_groups, key=lambda group: (group.target, group.by))
        if (groups := tuple(found))
    ]  # fmt: skip


def _series(change: GroupChange, verdict: Verdict) -> str:
    return f"{verdict.a} − {verdict.b}" if change.arm is None else f"{change.arm} − untouched"


def range_words(group: ClassGroup) -> str:
    ends = (group.lowest, group.highest)
    first, last = (f"{100 * end:.0f} %" if group.by == "difficulty" else f"{end:.0f}" for end in ends)
    return first if first == last else f"{first} to {last}"


def draw_groups(groups: Sequence[ClassGroup]) -> GroupsDrawing:
    """Points up, groups across. An interval that one seed or class leaves unknown is not drawn."""
    reach = _reach(groups)

    def height(change: float) -> float:
        return round((HEIGHT - FOOT) * (1 - (change + reach) / (2 * reach)), 1)

    step = (WIDTH - MARGIN) / len(groups)
    centres = [round(MARGIN + step * (index + 0.5), 1) for index in range(len(groups))]
    marks = (-reach, -reach / 2, 0.0, reach / 2, reach)
    return GroupsDrawing(
        zero=height(0),
        bars=tuple(_bars(groups, centres, height)),
        labels=tuple((x, range_words(group)) for x, group in zip(centres, groups, strict=True)),
        ticks=tuple((height(mark), round(100 * mark, 6)) for mark in marks),
    )


def _reach(groups: Sequence[ClassGroup]) -> float:
    """The smallest round number that holds every interval, and every change where one is not known."""
    changes = [change for group in groups for change in group.changes]
    ends = [end for change in changes for end in _ends(change)]
    rounds = (0.02, 0.04, 0.1, 0.2, 0.4, 1.0)
    return next(number for number in rounds if number >= max(map(abs, ends)))


def _ends(change: GroupChange) -> tuple[float, float]:
    known = (change.low, change.high) != (-1, 1)
    return (change.low, change.high) if known else (change.difference, change.difference)


def _bars(groups: Sequence[ClassGroup], centres: Sequence[float], height: Callable[[float], float]) -> Iterator[Bar]:
    for centre, group in zip(centres, groups, strict=True):
        for series, change in enumerate(group.changes):
            low, high = _ends(change)
            x = round(centre + BETWEEN * (series - (len(group.changes) - 1) / 2), 1)
            yield Bar(series, x, height(low), height(high), height(change.difference))
