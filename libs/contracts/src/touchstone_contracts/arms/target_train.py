"""The target's own real training images (paper section 6, E5)."""

from typing import Literal

from touchstone_contracts.arms.spec import ArmSpec
from touchstone_contracts.values import Name


class TargetTrain(ArmSpec):
    """The target's own real training split, alone or as a part of a mixture; curated by the same rules as every arm.

    The linear probe is fitted on the same split, whatever the arm. So this arm's linear probe sees images its encoder
    was adapted on, and its gain there is not comparable with that of other arms as its zero-shot accuracy is."""

    kind: Literal["target_train"] = "target_train"
    name: Name = "target_train"
