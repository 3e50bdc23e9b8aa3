"""A step that is small enough to serve in any test of a worker."""

from touchstone_contracts.catalogue import ClassLabel
from touchstone_contracts.messages import StepMessage
from touchstone_contracts.steps import WRITE_PROMPTS, WritePrompts

REQUEST = WritePrompts(classes=(ClassLabel(id=0, display_name="cat"),), templates=("a {name}",), images_per_class=2)
MESSAGE = StepMessage(
    step_id=WRITE_PROMPTS.step_id(REQUEST),
    attempt=1,
    kind=WRITE_PROMPTS.name,
    version=WRITE_PROMPTS.version,
    request=REQUEST.model_dump(mode="json"),
)
