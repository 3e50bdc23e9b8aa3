"""Learning rates by step, as fractions of the peak."""

import math


def warmup_cosine(step: int, warmup: int, steps: int) -> float:
    """Linear rise over `warmup` steps, then a half cosine to zero at `steps`."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def flat_then_linear(step: int, warmup: int, steps: int, flat: float = 0.6, floor: float = 0.02) -> float:
    """Linear rise, the peak until the share `flat` of all steps is done, then linearly down to `floor`."""
    if step < warmup:
        return (step + 1) / warmup
    return 1 - (1 - floor) * max(0.0, step / steps - flat) / (1 - flat)
