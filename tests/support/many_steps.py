"""Any number of steps of one queue that need nothing, as a plan has them."""

from touchstone_contracts.catalogue import ClassLabel
from touchstone_contracts.steps import WRITE_PROMPTS, AnyContract, WritePrompts
from touchstone_planning.dag import Plan, PlannedStep

QUEUE = WRITE_PROMPTS.queue
CHANNEL = WRITE_PROMPTS.channel


def independent_steps(count: int, name: str = "many", contract: AnyContract = WRITE_PROMPTS) -> tuple[PlannedStep, ...]:
    """`count` different ones; others under another name. `contract`: WRITE_PROMPTS in any version."""
    return independent_plan(count, name, contract).steps


def independent_plan(count: int, name: str = "many", contract: AnyContract = WRITE_PROMPTS) -> Plan:
    plan = Plan()
    for number in range(count):
        request = WritePrompts(
            classes=(ClassLabel(id=0, display_name="cat"),),
            templates=(f"{name} {number} {{name}}",),
            images_per_class=1,
        )
        plan.add(contract, request, f"{name}/{number}")
    return plan
