"""A plan too large to be made is counted and refused before it is made."""

from collections.abc import Iterator
from dataclasses import dataclass

from touchstone_contracts.arms import Arm
from touchstone_contracts.catalogue import Target
from touchstone_contracts.experiment import FEWEST_SEEDS
from touchstone_contracts.problems import FieldError, Invalid
from touchstone_contracts.steps import ModelRef

from touchstone_planning.arms.planner import planner_of
from touchstone_planning.resolved import ResolvedExperiment

FEWEST_WORTH_NAMING = 2
ENTRIES_PER_STEP = 10
"""On average a plan may have so many. Five seeds with five learning rates have four."""
ENTRIES_PER_CELL = 5
"""What a cell or run in a judgement's layout counts: it is an object where a run that an evaluation names is shared."""


@dataclass(frozen=True)
class PlanSize:
    """Upper bounds; steps that arms share are counted for each."""

    steps: int
    entries: int
    """In the requests of steps: runs that each evaluation chooses from, images that each curation chooses from, cells
    that each judgement waits for. Evaluations of many seeds name all of them each, so this grows with their square."""

    def __add__(self, other: "PlanSize") -> "PlanSize":
        return PlanSize(self.steps + other.steps, self.entries + other.entries)


def check_size(resolved: ResolvedExperiment, limit: int) -> None:
    """Raises Invalid when the plan may have more than `limit` steps, or ENTRIES_PER_STEP times as many entries, with
    what to lower."""
    size, most_entries = plan_size(resolved), ENTRIES_PER_STEP * limit
    if size.steps > limit:
        reason = f"takes about {size.steps:,} steps and {limit:,} are allowed (TOUCHSTONE_MAX_PLAN_STEPS)"
    elif size.entries > most_entries:
        reason = (
            f"takes about {size.steps:,} steps that name {size.entries:,} others and {most_entries:,} are allowed "
            f"({ENTRIES_PER_STEP} x TOUCHSTONE_MAX_PLAN_STEPS): every evaluation names the runs of all seeds and "
            "learning rates, every judgement all that it waits for"
        )
    else:
        return
    raise Invalid(
        f"the experiment {reason}: lower what is named below, or divide it into several experiments",
        code="plan_too_large",
        errors=tuple(_what_to_lower(resolved)),
    )


def plan_size(resolved: ResolvedExperiment) -> PlanSize:
    """By arithmetic: takes no longer for a plan of millions of steps."""
    shards = len(resolved.upstream.shards)
    # Once for the experiment: the upstream by another encoder, and the steps that name every shard.
    total = PlanSize(shards if _reembeds_upstream(resolved) else 0, 0) + _judgements(resolved)
    seeds, grid = len(resolved.spec.seeds), len(resolved.spec.seeds) * _rates(resolved)
    sizes = len(resolved.spec.sizes)
    for target in resolved.targets:
        # Its splits, embedded for two encoders and the judge; two checks of them, untouched encoder, probe of sources,
        # names of classes.
        names = shards if resolved.spec.zero_shot_names != "given" else 0
        total += PlanSize(4 * len(target.splits.by_name) + seeds + 4, 2 * grid + names)
        for arm in resolved.spec.training_arms:
            candidates, embedded = planner_of(arm).most_steps(arm, target, resolved), _embedded(arm, target, resolved)
            # Other encoders than the first embed them again.
            again = embedded * (_encoders(resolved) - 1)
            # Curation and audit.
            steps = candidates + again + 2 + sizes * (grid + seeds)
            entries = embedded * (2 + _encoders(resolved)) + sizes * seeds * grid
            entries += sum(_embedded(resolved.arm(part), target, resolved) for part in planner_of(arm).parts(arm))
            entries += shards if planner_of(arm).names_shards(arm) else 0
            total += PlanSize(steps, entries)
    return total


def _embedded(arm: Arm, target: Target, resolved: ResolvedExperiment) -> int:
    """Sets of candidates: half of the steps that lead to them embed them."""
    return planner_of(arm).most_steps(arm, target, resolved) // 2 + 1


def _encoders(resolved: ResolvedExperiment) -> int:
    """That embed an arm's candidates."""
    found = [resolved.encoder_for_scores, resolved.encoder_for_copies, resolved.judge_encoder]
    return len({ModelRef.of(encoder).model_dump_json() for encoder in found if encoder is not None})


def _reembeds_upstream(resolved: ResolvedExperiment) -> bool:
    other = ModelRef.of(resolved.encoder_for_copies) != ModelRef.of(resolved.index_encoder)
    return other and resolved.spec.curation.needs_upstream


def _judgements(resolved: ResolvedExperiment) -> PlanSize:
    """Of all arms, of the two compared, and of those for each early look; the layout is stored once more."""
    spec, comparison = resolved.spec, resolved.spec.primary
    arms, seeds, cells_per_arm = len(spec.training_arms), len(spec.seeds), len(spec.targets) * len(spec.sizes)
    grid = seeds * _rates(resolved)
    count, cells = 1, 2 * (arms * cells_per_arm * (seeds + grid) + len(spec.targets) * seeds)
    if comparison is not None:
        anytime = range(FEWEST_SEEDS, seeds)
        looks = [*(anytime if comparison.stopping == "anytime" else comparison.looks), seeds]
        count += len(looks)
        cells += sum(2 * cells_per_arm * (look + grid) + len(spec.targets) * look for look in looks)
    return PlanSize(count, ENTRIES_PER_CELL * cells)


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
