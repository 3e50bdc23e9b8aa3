"""A report as Markdown: to paste into a study's README or an issue."""

import re
from collections.abc import Iterable, Iterator

from touchstone.reports.blocks import Block, Bullets, Heading, Listing, Paragraph, Picture, Row, Table

SPECIAL = re.compile(r"([\\*`|<\[])")
LONGEST_FENCE = re.compile(r"`{3,}")


def to_markdown(blocks: Iterable[Block]) -> str:
    return "\n\n".join("\n".join(_lines(block)) for block in blocks) + "\n"


def escaped(text: str) -> str:
    return SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _lines(block: Block) -> Iterator[str]:
    match block:
        case Heading(text, level):
            yield f"{'#' * (level + 2)} {escaped(text)}"
        case Paragraph(text, strong):
            yield f"**{escaped(text)}**" if strong else escaped(text)
        case Bullets(items):
            yield from (f"- {escaped(item)}" for item in items)
        case Listing(text, language):
            fence = "`" * (1 + max([2, *(len(found) for found in LONGEST_FENCE.findall(text))]))
            yield from (f"{fence}{language}", text.rstrip("\n"), fence)
        case Table():
            yield from _table(block)
        case Picture(caption, _, file):
            yield f"![{escaped(caption)}](<{file}>)"


def _table(table: Table) -> Iterator[str]:
    if table.title:
        yield from (f"{escaped(table.title)}:", "")
    yield _row(table.headings)
    yield f"| {' | '.join(['---'] * len(table.headings))} |"
    for number, row in enumerate(table.rows):
        yield _row(row, {column for line, column in table.best if line == number})
    if table.note:
        yield from ("", escaped(table.note))


def _row(cells: Row, best: Iterable[int] = ()) -> str:
    shown = (f"**{escaped(cell)}**" if column in best else escaped(cell) for column, cell in enumerate(cells))
    return f"| {' | '.join(shown)} |"
