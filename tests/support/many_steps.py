"""Any number of steps of one queue that need nothing, as a plan has them."""

from touchstone_contracts.catalogue import ClassLabel
from touchstone_contracts.steps import WRITE_PROMPTS, WritePrompts
from touchstone_planning.dag import PlannedStep

QUEUE = WRITE_PROMPTS.queue


def independent_steps(count: int, name: str = "many") -> list[PlannedStep]:
    """`count` different ones; others under another name."""
    requests = [
        WritePrompts(
            classes=(ClassLabel(id=0, display_name="cat"),),
            templates=(f"{name} {number} {{name}}",),
            images_per_class=1,
        )
        for number in range(count)
    ]
    return [
        PlannedStep(WRITE_PROMPTS.step_id(request), WRITE_PROMPTS.name, request, (), f"{name}/{number}")
        for number, request in enumerate(requests)
    ]
