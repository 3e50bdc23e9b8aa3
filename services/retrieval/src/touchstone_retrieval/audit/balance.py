"""How many images of each class the training sets of a size have (touchstone_runtime.training_sets draws them)."""

from collections.abc import Iterator

import numpy as np
from touchstone_contracts.label_card import ClassBalance

from touchstone_retrieval.audit.audited import Audited
from touchstone_retrieval.curation.ranks import best_first


def measure_balance(audited: Audited) -> tuple[ClassBalance, ...]:
    """Of the sizes that the pool is large enough for."""
    return tuple(_balance(size, audited) for size in sorted(audited.sizes) if _is_enough(size, audited))


def _parts(size: int, audited: Audited) -> Iterator[tuple[np.ndarray, int]]:
    """Positions of each part of the pool, and how many images it gives; a pool that is no mixture is one part."""
    if audited.mixing is None:
        yield np.arange(len(audited.class_ids)), size
        return
    for part, quota in enumerate(audited.mixing.quotas(size)):
        yield np.flatnonzero(audited.parts == part), quota


def _is_enough(size: int, audited: Audited) -> bool:
    return all(len(positions) >= quota for positions, quota in _parts(size, audited))


def _balance(size: int, audited: Audited) -> ClassBalance:
    drawn = sum((_drawn(positions, quota, audited) for positions, quota in _parts(size, audited)), start=np.zeros(1))
    share = size // len(audited.classes)
    return ClassBalance(
        size=size,
        fewest=round(float(drawn.min()), 3),
        median=round(float(np.median(drawn)), 3),
        most=round(float(drawn.max()), 3),
        short=int((drawn < share).sum()),
        empty=int((drawn == 0).sum()),
    )


def _drawn(positions: np.ndarray, quota: int, audited: Audited) -> np.ndarray:
    """float (classes,): images of each class among the first `quota`."""
    classes, labels = len(audited.classes), audited.class_ids[positions]
    available = np.bincount(labels, minlength=classes)
    if audited.rules.balance == "stratified":
        return in_turn(available, quota)
    if audited.rules.ranking == "score":
        best = best_first(audited.scores[positions])[:quota]
        return np.bincount(labels[best], minlength=classes).astype(np.float64)
    expected: np.ndarray = available * (quota / max(1, len(positions)))
    return expected


def in_turn(available: np.ndarray, quota: int) -> np.ndarray:
    """float (classes,): classes give one image each in turn until there are `quota`; available (classes,), together at
    least as many. The last, incomplete turn goes to whichever classes the seed draws: here to the first."""
    rounds = np.minimum(available[:, None], np.arange(1, available.max(initial=0) + 1)).sum(axis=0)  # after each turn
    complete = int((rounds <= quota).sum())
    drawn = np.minimum(available, complete)
    more = np.flatnonzero(available > complete)[: quota - drawn.sum()]
    drawn[more] += 1
    return drawn.astype(np.float64)
