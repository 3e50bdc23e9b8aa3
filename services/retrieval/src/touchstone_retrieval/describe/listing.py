"""Which files a location stands for."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from touchstone_contracts.problems import Invalid
from touchstone_contracts.sources import hub_dataset

from touchstone_retrieval.ingest.location_reader import LocationReader
from touchstone_retrieval.ingest.tar_samples import is_hidden

NAMES_SHOWN = 3
_STARS = re.compile(r"(\*\*/|\*\*|\*)")
_AS_REGEX = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}


@dataclass(frozen=True)
class FoundFile:
    location: str
    path: str
    """Relative to the location that was asked for, or to the part of it that comes before any pattern."""


def files_at(location: str, reader: LocationReader) -> list[FoundFile]:
    """The files without hidden ones. Raises Invalid where there is none, and what `reader` raises."""
    base, pattern = _base_and_pattern(location)
    if location.startswith(("https:", "http:")) and (pattern or location.endswith("/")):
        detail = f"{location} is no single file, and a web server does not list its files: name each one"
        raise Invalid(detail, code="not_listable")
    # A prefix of keys is more than a folder: "photos" begins "photos-of-staff", too.
    found = [FoundFile(each, path) for each in reader.below(base) if (path := _below(each, base)) is not None]
    chosen = [file for file in found if _matches(file.path, pattern) and not is_hidden(file.path)]
    if not chosen:
        raise Invalid(_nothing(location, base, found), code="place_missing")
    return chosen


def _base_and_pattern(location: str) -> tuple[str, str]:
    head = "library:" if location.startswith("library:") else ""
    parts = location.removeprefix(head).rstrip("/").split("/")
    first = next((number for number, part in enumerate(parts) if "*" in part), len(parts))
    return head + "/".join(parts[:first]), "/".join(parts[first:])


def _below(location: str, base: str) -> str | None:
    """The path from the base to the location: the file's name where both are the same, None where the location is not
    below the base."""
    whole, folder = _without_revision(location), _without_revision(base)
    if whole == folder:
        return PurePosixPath(whole).name
    prefix = folder if folder.endswith(":") else f"{folder}/"
    return whole.removeprefix(prefix) if whole.startswith(prefix) else None


def _without_revision(location: str) -> str:
    """A data set of a hub is found at a commit, whatever revision was asked for."""
    if not location.startswith("hf://"):
        return location
    named = hub_dataset(location)
    return "/".join(part for part in (named.repository, named.path) if part)


def _matches(path: str, pattern: str) -> bool:
    expression = "".join(_AS_REGEX.get(part, re.escape(part)) for part in _STARS.split(pattern))
    return not pattern or re.fullmatch(expression, path) is not None


def _nothing(location: str, base: str, found: list[FoundFile]) -> str:
    if not found:
        return f"no file is at {location}: check the name"
    return f"no file matches {location}; below {base} {_counted(found)}"


def _counted(found: list[FoundFile]) -> str:
    shown = ", ".join(file.path for file in found[:NAMES_SHOWN])
    return f"there are {len(found)} files, such as {shown}" if len(found) > 1 else f"there is {shown}"
