"""Tables that can be read on a terminal of any width."""

from rich.console import Console
from rich.measure import Measurement
from rich.table import Column, Table

EDGES = 3
"""Columns of the terminal that one column of a table needs besides its content: two blanks and a line."""


def print_table(console: Console, table: Table) -> None:
    """As a table where no word has to be cut, otherwise a paragraph per row with a line per column."""
    measured = [_measure(console, column) for column in table.columns]
    room = console.width - 1 - sum(each.minimum + EDGES for each in measured)
    if room < 0:
        _print_paragraphs(console, table)
        return
    for column, content in zip(table.columns, measured, strict=True):
        wider = min(room, content.maximum - content.minimum)
        column.width = content.minimum + wider
        room -= wider
    console.print(table)


def _measure(console: Console, column: Column) -> Measurement:
    """The least width is that of the longest word, or of the longest line where lines are not wrapped."""
    wide = console.options.update(width=10_000)
    measured = [console.measure(content, options=wide) for content in (column.header, *column.cells)]
    most = max(each.maximum for each in measured)
    return Measurement(most if column.no_wrap else max(each.minimum for each in measured), most)


def _print_paragraphs(console: Console, table: Table) -> None:
    if table.title:
        console.print(table.title, style="italic")
    for cells in zip(*(column.cells for column in table.columns), strict=True):
        console.print()
        for column, cell in zip(table.columns, cells, strict=True):
            if cell != "":
                console.print(f"{column.header}: {cell}", soft_wrap=True, highlight=False)
