"""What is registered, at the terminal."""

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from touchstone.fitting import print_table
from touchstone.registered import Kind

MOST_ITEMS = 12
"""Of a list that are shown; `--json` shows all."""


def print_entries(console: Console, kind: Kind, entries: Iterable[Any]) -> None:
    table = Table()
    for heading in kind.headings:
        numbers = heading in ("images", "classes", "test images", "steps", "image size", "held")
        table.add_column(heading, justify="right" if numbers else "left", overflow="fold")
    for entry in entries:
        table.add_row(*map(escape, kind.row(entry)))
    print_table(console, table)


def print_entry(console: Console, entry: BaseModel) -> None:
    """A field per line, nested ones with dots; long lists are cut."""
    for name, value in _lines(entry.model_dump(mode="json", exclude_none=True), ""):
        console.print(f"{name}: {value}", markup=False, highlight=False, soft_wrap=True)


def _lines(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _lines(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, list) and any(isinstance(each, dict | list) for each in value):
        for number, inner in enumerate(value[:MOST_ITEMS]):
            yield from _lines(inner, f"{name}[{number}]")
        if len(value) > MOST_ITEMS:
            yield name, f"and {len(value) - MOST_ITEMS} more; --json shows all"
    elif isinstance(value, list):
        yield name, ", ".join(map(str, value[:MOST_ITEMS])) + (", ..." if len(value) > MOST_ITEMS else "")
    elif value != "":
        yield name, str(value)
