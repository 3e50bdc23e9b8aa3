"""A plan too large to be made is refused before it is made."""

from collections.abc import Iterator

from touchstone_contracts.problems import FieldError, Invalid

from touchstone_planning.arms.planner import planner_of
from touchstone_planning.resolved import ResolvedExperiment

FEWEST_WORTH_NAMING = 2


def check_size(resolved: ResolvedExperiment, limit: int) -> None:
    """Raises Invalid when the plan may have more than `limit` steps, with what to lower."""
    count = most_steps(resolved)
    if count > limit:
        raise Invalid(
            f"the experiment takes about {count:,} steps and {limit:,} are allowed (TOUCHSTONE_MAX_PLAN_STEPS): lower "
            "what is named below, or divide it into several experiments",
            code="plan_too_large",
            errors=tuple(_what_to_lower(resolved)),
        )


def most_steps(resolved: ResolvedExperiment) -> int:
    """About how many steps the experiment's plan has; steps that arms share are counted for each."""
    spec = resolved.spec
    runs = len(spec.sizes) * len(spec.seeds) * (_rates(resolved) + 1)
    count = 0
    for target in resolved.targets:
        count += len(target.splits.by_name) + len(spec.seeds) + 1  # the probe of sources
        for arm in spec.training_arms:
            candidates = planner_of(arm).most_steps(arm, target, resolved)
            # Curation and audit; half of the steps that lead to candidates embed them, and a judge embeds them again.
            count += candidates + 2 + runs + (candidates // 2 + 1 if resolved.judge_encoder else 0)
    return count


def _rates(resolved: ResolvedExperiment) -> int:
    return sum(1 for _ in resolved.spec.recipe.runs())


def _what_to_lower(resolved: ResolvedExperiment) -> Iterator[FieldError]:
    """The largest factors first, then arms whose candidates alone take many steps."""
    spec = resolved.spec
    factors = [
        ("/targets", len(spec.targets), "targets"),
        ("/arms", len(spec.training_arms), "arms that train"),
        ("/sizes", len(spec.sizes), "sizes"),
        ("/seeds", len(spec.seeds), "seeds"),
        ("/recipe/learning_rates", _rates(resolved), "learning rates"),
    ]
    for pointer, count, words in sorted(factors, key=lambda factor: -factor[1]):
        if count >= FEWEST_WORTH_NAMING:
            yield FieldError(pointer=pointer, detail=f"{count} {words}")
    runs = len(spec.sizes) * len(spec.seeds) * _rates(resolved)
    for position, arm in enumerate(spec.arms):
        most = max((planner_of(arm).most_steps(arm, target, resolved) for target in resolved.targets), default=0)
        if most > runs:
            detail = f"arm {arm.name!r} takes up to {most:,} steps per target before anything is trained"
            yield FieldError(pointer=f"/arms/{position}", detail=detail)
