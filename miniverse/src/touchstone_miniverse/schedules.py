"""Learning rates by step."""

import math


def warmup_cosine(step: int, warmup: int, steps: int, peak: float) -> float:
    """Linear rise over `warmup` steps, then a half cosine to zero at `steps`."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def flat_then_linear(step: int, warmup: int, steps: int, peak: float, flat: float = 0.6, floor: float = 0.02) -> float:
    """Linear rise, `peak` until the share `flat` of all steps is done, then linearly down to `floor` x peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    done = step / steps
    return peak * (1 - (1 - floor) * max(0.0, done - flat) / (1 - flat))
