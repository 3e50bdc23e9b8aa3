"""The prompt table: one row per image to generate."""

from collections.abc import Sequence
from dataclasses import asdict

import pyarrow as pa

from touchstone_generator.prompts.templates import Prompt

SCHEMA = pa.schema(
    [("prompt_id", pa.string()), ("class_id", pa.int32()), ("prompt", pa.string()), ("index", pa.int32())]
)


def prompt_table(prompts: Sequence[Prompt]) -> pa.Table:
    return pa.Table.from_pylist([asdict(prompt) for prompt in prompts], schema=SCHEMA)


def read_prompts(table: pa.Table) -> list[Prompt]:
    return [Prompt(**row) for row in table.select(SCHEMA.names).to_pylist()]
