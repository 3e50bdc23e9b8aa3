"""What each problem code means and what to do about it: problems.md, by code. Served at /problems/<code>, to which the
`type` of a problem document leads."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).parent / "problems.md"


class Section(NamedTuple):
    code: str
    meaning: str
    remedy: str


class Chapter(NamedTuple):
    title: str
    sections: tuple[Section, ...]


@cache
def chapters() -> tuple[Chapter, ...]:
    """In the order of the document. Raises ValueError where a section is not a meaning and a remedy."""
    return parse_chapters(SOURCE.read_text("utf-8"))


@cache
def section_of(code: str) -> Section | None:
    return next((each for chapter in chapters() for each in chapter.sections if each.code == code), None)


def parse_chapters(text: str) -> tuple[Chapter, ...]:
    """Chapters begin with `# title`, sections with `## code`, and a section has two paragraphs. Raises ValueError."""
    found = []
    for chapter in text.removeprefix("# ").split("\n# "):
        title, *sections = chapter.split("\n## ")
        found.append(Chapter(title.strip(), tuple(map(_section, sections))))
    return tuple(found)


def _section(text: str) -> Section:
    code, *paragraphs = [part.strip() for part in text.strip().split("\n\n")]
    if len(paragraphs) != 2:
        raise ValueError(f"section {code!r} has {len(paragraphs)} paragraphs: write what it means, and the remedy")
    return Section(code, *paragraphs)
