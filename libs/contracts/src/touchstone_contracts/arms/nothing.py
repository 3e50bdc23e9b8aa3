"""The encoder as it is."""

from typing import Literal

from touchstone_contracts.values import Name, Strict


class NoTraining(Strict):
    """The encoder as it is: the baseline of every plot."""

    kind: Literal["none"] = "none"
    name: Name = "none"
