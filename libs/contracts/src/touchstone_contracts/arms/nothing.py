"""The encoder as it is."""

from typing import ClassVar, Literal

from touchstone_contracts.arms.spec import ArmSpec
from touchstone_contracts.values import Name


class NoTraining(ArmSpec):
    """The encoder as it is: the baseline of every plot."""

    kind: Literal["none"] = "none"
    name: Name = "none"
    trains: ClassVar[bool] = False
