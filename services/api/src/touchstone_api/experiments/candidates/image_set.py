"""What planning an arm's candidates gives."""

from typing import NamedTuple

from touchstone_contracts.values import StepId


class PlannedImages(NamedTuple):
    """A step that yields candidates, and what they are here, e.g. `flags/synthetic[0:128]`."""

    step: StepId
    role: str
