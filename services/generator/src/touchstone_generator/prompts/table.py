"""The prompt table: one row per image to generate."""

from collections.abc import Sequence
from dataclasses import asdict

import pyarrow as pa

from touchstone_generator.prompts.captions import Caption
from touchstone_generator.prompts.retrieved import CollectedCaption
from touchstone_generator.prompts.templates import Prompt

SCHEMA = pa.schema(
    [("prompt_id", pa.string()), ("class_id", pa.int32()), ("prompt", pa.string()), ("index", pa.int32())]
)


def prompt_table(prompts: Sequence[Prompt]) -> pa.Table:
    return pa.Table.from_pylist([asdict(prompt) for prompt in prompts], schema=SCHEMA)


def caption_table(captions: Sequence[Caption]) -> pa.Table:
    """With two more columns: `mode` and `writer`."""
    table = prompt_table([caption.prompt for caption in captions])
    for column in ("mode", "writer"):
        table = table.append_column(column, pa.array([getattr(caption, column) for caption in captions], pa.string()))
    return table


def collected_table(captions: Sequence[CollectedCaption]) -> pa.Table:
    """With one more column: `caption_of`."""
    table = prompt_table([caption.prompt for caption in captions])
    return table.append_column("caption_of", pa.array([caption.caption_of for caption in captions], pa.string()))


def read_prompts(table: pa.Table) -> list[Prompt]:
    return [Prompt(**row) for row in table.select(SCHEMA.names).to_pylist()]
