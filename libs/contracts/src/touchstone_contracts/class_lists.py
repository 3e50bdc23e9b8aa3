"""A file that names the classes of a target, as people's editors and spreadsheets write it: a line per class, its
folder (or name) and, after a tab, the name that is shown."""

import unicodedata
from dataclasses import dataclass
from pathlib import Path

from touchstone_contracts.problems import Invalid

UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class ClassLine:
    folder: str
    display_name: str


def read_class_list(path: Path) -> list[ClassLine]:
    """In the order of ids; blank lines, and white space around a name, say nothing. Raises Invalid for a file that is
    not there, holds no class or is no text."""
    try:
        text = _decoded(path.read_bytes())
    except OSError as error:
        raise Invalid(f"the list of classes cannot be read: {error}", code="no_classes") from error
    except UnicodeDecodeError as error:
        raise Invalid(f"{path} is no text: save it as UTF-8, a class a line", code="no_classes") from error
    lines = [_line(line) for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n") if line.strip()]
    if not lines:
        raise Invalid(f"{path} names no class: write one a line, in the order of ids", code="no_classes")
    return lines


def _decoded(data: bytes) -> str:
    """Of Windows where it is no Unicode: a file in Latin-1 cannot be told from that. Raises UnicodeDecodeError."""
    if data.startswith(UTF_16_MARKS):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        if b"\0" in data:
            raise
        return data.decode("cp1252")


def _line(line: str) -> ClassLine:
    folder, _, display = (part.strip() for part in line.partition("\t"))
    return ClassLine(folder, unicodedata.normalize("NFC", display) or display_name(folder))


def display_name(folder: str) -> str:
    """What is shown for a class folder that no list names otherwise."""
    return unicodedata.normalize("NFC", folder.replace("_", " "))
