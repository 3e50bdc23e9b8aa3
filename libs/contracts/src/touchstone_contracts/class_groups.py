"""How the compared arms do on classes that are alike: as difficult, or with as many images upstream."""

from typing import Literal

from touchstone_contracts.values import Lenient, Name

GroupedBy = Literal["difficulty", "upstream_images"]
"""`difficulty`: accuracy of the untouched encoder on the class, from other test images than those the change is
measured on. `upstream_images`: images of the class that an arm found upstream and curation kept."""


class GroupChange(Lenient):
    """Mean over the classes of a group, each counting the same, over all sizes that both arms reached."""

    arm: Name | None
    """Against the untouched encoder; None: a minus b."""
    difference: float
    low: float
    high: float
    """Interval over classes and seeds; [-1, 1] where one class or seed leaves it unknown."""


class ClassGroup(Lenient):
    """About a third of a target's classes; of fewer where many are tied."""

    target: Name
    by: GroupedBy
    lowest: float
    highest: float
    """Range of what the classes are grouped by: accuracies in [0, 1], or images."""
    classes: int
    changes: tuple[GroupChange, ...]
    """The last is a minus b; without an untouched encoder the only one."""
