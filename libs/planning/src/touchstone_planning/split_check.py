"""The steps that look through the splits of a target: what only their images tell."""

from touchstone_contracts.steps import CHECK_TARGET, COMPARE_SPLITS, CheckTarget, CompareSplits

from touchstone_planning.curation import held_out
from touchstone_planning.dag import TargetContext

MOST_COMPARED = 100_000
"""Images of a split. Every image is compared with every other: two splits of so many take ten thousand million cosines,
minutes of one CPU."""


def plan_split_check(context: TargetContext) -> None:
    request = CheckTarget(
        classes=context.target.classes,
        test=context.test,
        validation=context.validation,
        train=context.train,
        further_tests=context.further_tests,
    )
    name = context.target.name
    context.plan.checks[name] = context.plan.add(CHECK_TARGET, request, f"{name}/check splits")


def plan_split_comparison(context: TargetContext) -> None:
    """Where an arm trains and curation looks for leaks: by the same encoder and cosine."""
    spec, name = context.resolved.spec, context.target.name
    if not spec.training_arms or spec.curation.leak_cosine is None:
        return
    steps = context.tests | {"validation": context.validation}
    if context.train is not None:
        steps["train"] = context.train
    images = {split: source.images for split, source in context.target.splits.by_name.items()}
    left_out = tuple(split for split in steps if images[split] > MOST_COMPARED)
    request = CompareSplits(
        splits={split: held_out(context, step, split) for split, step in steps.items() if split not in left_out},
        cosine=spec.curation.leak_cosine,
        left_out=left_out,
    )
    context.plan.likenesses[name] = context.plan.add(COMPARE_SPLITS, request, f"{name}/compare splits")
