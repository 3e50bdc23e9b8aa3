"""Images another step kept, as the start of something new."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from touchstone_contracts.image_sets import ImageSet
from touchstone_contracts.steps import PerturbImages
from touchstone_contracts.values import StepId
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.image_sets import LOCATION_COLUMNS

from touchstone_generator.prompts.templates import fill

COLUMNS = (*LOCATION_COLUMNS, "class_id", "caption", "source_key", "kept")
"""Of a manifest, what anything here starts from."""


@dataclass(frozen=True, slots=True)
class Parent:
    image_id: str
    class_id: int
    caption: str
    source_key: str
    image: bytes
    """Encoded."""


def kept_images(artifacts: Artifacts, step: StepId) -> tuple[ImageSet, pa.Table]:
    """The image set a step made (curated, mixed or ingested) and the rows it keeps, in their order."""
    images, _ = artifacts.image_set(step)
    table = artifacts.get_table(images.manifest, COLUMNS)
    return images, table.filter(pc.field("kept"))


def share(count: int, part: int, parts: int) -> range:
    """Rows of share `part` (from 0) of `parts`: all shares together are 0..count-1 in order, equal but for one row."""
    return range(count * part // parts, count * (part + 1) // parts)


def perturbation_prompt(parent: Parent, request: PerturbImages) -> str:
    label = request.classes[parent.class_id]
    match request.prompt:
        case "class_name":
            return label.prompt_name
        case "template":
            return fill(request.templates[0], label)
        case "caption":
            return parent.caption.strip() or fill(request.templates[0], label)
