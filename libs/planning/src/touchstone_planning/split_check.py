"""The step that looks through the splits of a target: what only their images tell."""

from touchstone_contracts.steps import CHECK_TARGET, CheckTarget

from touchstone_planning.dag import TargetContext


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
