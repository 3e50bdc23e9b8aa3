"""Whether training changed what an encoder answers: where it hardly did, two arms cannot differ."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from touchstone_contracts.adaptation import Metric

from touchstone_verdict.curves import Curves

HARDLY = 0.01
"""Share of the test images. Below it, the most that a recipe can have gained is one point."""


@dataclass(frozen=True)
class Movement:
    target: str
    arm: str
    size: int
    """The largest that the arm reached."""
    changed: float
    """Share of the test images, averaged over seeds, that the adapted encoder gets right and the untouched one wrong,
    or the other way round."""


def movement(curves: Curves, target: str, metric: Metric, arm: str, baseline: str) -> Movement | None:
    """None where the arm or the untouched encoder has no results."""
    curve, untouched = curves.get((target, metric, arm)), curves.get((target, metric, baseline))
    if curve is None or untouched is None:
        return None
    changed = curve.correct[-1][:, None] != untouched.correct[0][None]
    return Movement(target, arm, curve.sizes[-1], float(np.mean(changed)))


def movement_words(
    curves: Curves, targets: Sequence[str], metric: Metric, arms: Sequence[str], baseline: str
) -> Iterator[str]:
    """A sentence for each target and arm whose encoder answers as the untouched one."""
    for target in targets:
        for arm in arms:
            found = movement(curves, target, metric, arm, baseline)
            if found is not None and found.changed < HARDLY:
                yield (
                    f"{target}: the recipe hardly changed the encoder. Trained on {found.size} images of {arm}, it is "
                    f"right and wrong on the same test images as before, but for {found.changed:.1%} of them. A higher "
                    "learning rate or more updates may show a difference."
                )
