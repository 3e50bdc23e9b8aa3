"""What every arm has; ARMS says which kinds there are."""

from typing import ClassVar

from touchstone_contracts.registry import Kinds
from touchstone_contracts.values import Name, Strict


class ArmSpec(Strict):
    kind: str
    name: Name
    trains: ClassVar[bool] = True
    """Whether it yields a training set, of every size that the experiment asks for."""


ARMS = Kinds("arm", ArmSpec)
