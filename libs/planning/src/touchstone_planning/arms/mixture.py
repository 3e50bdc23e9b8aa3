"""A mixture has no candidates of its own: the curated pools of its parts lie side by side."""

from collections.abc import Iterator

from touchstone_contracts.arms.mixture import Amount, Mixing, Mixture, Part, Share
from touchstone_contracts.catalogue import Target
from touchstone_contracts.problems import FieldError, in_words
from touchstone_contracts.recipes import RECIPES
from touchstone_contracts.registry import kind_of
from touchstone_contracts.steps import MIX_POOLS, MixPools
from touchstone_contracts.values import Name, StepId

from touchstone_planning.arms.planner import ArmPlanner, Source, most_images, pointer_to
from touchstone_planning.dag import PoolOf, TargetContext
from touchstone_planning.resolved import ResolvedExperiment


class MixturePlanner(ArmPlanner[Mixture]):
    spec = Mixture
    offers = frozenset({"images"})

    def describe(self, arm: Mixture) -> str:
        return f"a mixture of {', '.join(map(_part, arm.parts))}"

    def sources(self, arm: Mixture) -> Iterator[Source]:
        for position, part in enumerate(arm.parts):
            yield Source(f"/parts/{position}/arm", part.arm, ("images", "unmixed"))

    def impossible(self, arm: Mixture, resolved: ResolvedExperiment) -> Iterator[FieldError]:
        smallest = arm.mixing.smallest_size
        for position, size in enumerate(resolved.spec.sizes):
            if size < smallest:
                detail = f"the counts of mixture {arm.name!r} need a size of at least {smallest}"
                yield FieldError(pointer=f"/sizes/{position}", detail=detail)
        if arm.mixing.loss_weights and not resolved.spec.recipe.weighs_images:
            able = in_words([kind_of(recipe) for recipe in RECIPES if recipe.weighs_images], "and")
            detail = f"recipe {resolved.spec.recipe.kind} cannot weigh images, only {able} can: leave loss_weight out"
            yield FieldError(pointer=f"{pointer_to(arm, resolved)}/parts", detail=detail)

    def most_candidates(self, arm: Mixture, target: Target, resolved: ResolvedExperiment) -> int:
        """None but those of its parts."""
        return 0

    def most_images(self, arm: Mixture, target: Target, resolved: ResolvedExperiment) -> int:
        """The largest size asked for at which every part may have enough."""
        available = [most_images(resolved.arm(part.arm), target, resolved) for part in arm.parts]
        return arm.mixing.largest_size(available, max(resolved.spec.sizes))

    def plan_pool(self, arm: Mixture, context: TargetContext, pool_of: PoolOf) -> StepId:
        pools = tuple(pool_of(part.arm) for part in arm.parts)
        return context.plan.add(MIX_POOLS, MixPools(pools=pools), f"{context.target.name}/{arm.name}/mix")

    def parts(self, arm: Mixture) -> tuple[Name, ...]:
        return tuple(part.arm for part in arm.parts)

    def mixing(self, arm: Mixture) -> Mixing:
        return arm.mixing


def _part(part: Part) -> str:
    weight = f", loss weight {part.loss_weight:g}" if part.loss_weight != 1 else ""
    return f"{_amount(part.amount)} of {part.arm}{weight}"


def _amount(amount: Amount) -> str:
    return f"{amount.share:.0%}" if isinstance(amount, Share) else f"{amount.images} images"
