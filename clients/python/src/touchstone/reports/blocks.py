"""What a report consists of, before it is Markdown, HTML or LaTeX. Text is plain: each format escapes it."""

from collections.abc import Sequence
from dataclasses import dataclass

Row = Sequence[str]


@dataclass(frozen=True)
class Heading:
    text: str
    level: int = 2
    """1: of an experiment; 2: of one of its sections."""


@dataclass(frozen=True)
class Paragraph:
    text: str
    strong: bool = False


@dataclass(frozen=True)
class Bullets:
    items: tuple[str, ...]


@dataclass(frozen=True)
class Listing:
    """Lines that are shown as they are; `language` is the one that Markdown names."""

    text: str
    language: str


@dataclass(frozen=True)
class Table:
    name: str
    """Unique within an experiment; LaTeX makes the label of it."""
    title: str
    headings: Row
    rows: tuple[Row, ...]
    best: frozenset[tuple[int, int]] = frozenset()
    """(row, column) of the cells that stand in bold."""
    texts: int = 2
    """So many columns from the left hold words; the others hold numbers, which are aligned on the right."""
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """The accuracies as a figure: SVG for HTML, a file beside the report for the others."""

    caption: str
    svg: str = ""
    file: str = ""


Block = Heading | Paragraph | Bullets | Listing | Table | Picture
