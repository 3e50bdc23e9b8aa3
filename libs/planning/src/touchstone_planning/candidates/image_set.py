"""What planning an arm's candidates gives."""

from collections.abc import Callable
from typing import NamedTuple

from touchstone_contracts.values import Name, StepId

PoolOf = Callable[[Name], StepId]
"""Plans another arm of the same target, unless that is done, and gives the step that leaves its curated pool."""


class PlannedImages(NamedTuple):
    """A step that yields candidates, and what they are here, e.g. `flags/synthetic[0:128]`."""

    step: StepId
    role: str
