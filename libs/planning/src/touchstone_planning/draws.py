"""What the seeds of two arms have in common, by how the arms are made: never guessed from their images."""

from collections.abc import Iterable

from touchstone_contracts.steps import Drawing, DrawnParts
from touchstone_contracts.values import Name

from touchstone_planning.arms.planner import planner_of
from touchstone_planning.resolved import ResolvedExperiment

MOSTLY = 0.5
"""Two arms are paired seed by seed where they draw at least this share of their images alike."""


def share_draws(resolved: ResolvedExperiment, a: Name, b: Name) -> bool:
    """Whether a seed draws mostly the same images, or images made from the same ones, for both arms, at every size.

    A draw by score is the same for all seeds, so seeds have no images in common that other seeds would not have."""
    if resolved.spec.curation.ranking == "score":
        return False
    return all(_alike(_shares(resolved, a, size), _shares(resolved, b, size)) >= MOSTLY for size in resolved.spec.sizes)


def _alike(of_a: dict[Name, float], of_b: dict[Name, float]) -> float:
    return sum(min(share, of_b.get(name, 0.0)) for name, share in of_a.items())


def _shares(resolved: ResolvedExperiment, name: Name, size: int) -> dict[Name, float]:
    """The arms whose order decides which images are drawn, and the share of the training set that each decides."""
    arm = resolved.arm(name)
    planner = planner_of(arm)
    origin, mixing = planner.origin(arm), planner.mixing(arm)
    if origin is not None:
        return _shares(resolved, origin, size)
    if mixing is None:
        return {name: 1.0}
    quotas = mixing.quotas(size)
    total = max(1, sum(quotas))
    shares: dict[Name, float] = {}
    for part, quota in zip(planner.parts(arm), quotas, strict=True):
        for origin, share in _shares(resolved, part, size).items():
            shares[origin] = shares.get(origin, 0.0) + share * quota / total
    return shares


def drawing_of(resolved: ResolvedExperiment, arms: Iterable[Name]) -> Drawing:
    """How the seeds of `arms` draw from their pools."""
    rules = resolved.spec.curation
    mixtures = {}
    for name in arms:
        planner = planner_of(resolved.arm(name))
        mixing = planner.mixing(resolved.arm(name))
        if mixing is not None:
            mixtures[name] = DrawnParts(parts=planner.parts(resolved.arm(name)), mixing=mixing)
    return Drawing(ranking=rules.ranking, balance=rules.balance, mixtures=mixtures)
