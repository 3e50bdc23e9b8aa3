"""The packages of the uv workspace, as their pyproject.toml files describe them."""

import tomllib
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.deployment import ROOT

FOLDERS = sorted(
    str(path.parent.relative_to(ROOT)) for path in [*ROOT.glob("*/pyproject.toml"), *ROOT.glob("*/*/pyproject.toml")]
)
"""Of every package, relative to the repository's root."""


def pyproject(folder: str) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())
    return found


def dependencies(folder: str, *, optional: bool = False) -> list[Requirement]:
    """What a package asks for; with `optional` its extras and dependency groups too."""
    document = pyproject(folder)
    lines = list(document["project"].get("dependencies", []))
    if optional:
        groups = [*document["project"].get("optional-dependencies", {}).values()]
        groups += document.get("dependency-groups", {}).values()
        lines += [line for group in groups for line in group]
    return [Requirement(line) for line in lines]


def folders_by_name() -> dict[str, str]:
    """By the name of a package's distribution."""
    return {canonicalize_name(pyproject(folder)["project"]["name"]): folder for folder in FOLDERS}


def third_party(folder: str, *, optional: bool = False) -> list[Requirement]:
    """What a package asks for, less the workspace's own packages."""
    own = folders_by_name()
    return [each for each in dependencies(folder, optional=optional) if canonicalize_name(each.name) not in own]


def closure(folder: str) -> set[str]:
    """The folders of the workspace packages that a package needs, itself included."""
    own = folders_by_name()
    wanted: set[str] = set()
    todo = [folder]
    while todo:
        current = todo.pop()
        wanted.add(current)
        names = [canonicalize_name(each.name) for each in dependencies(current)]
        todo += [own[name] for name in names if name in own and own[name] not in wanted]
    return wanted
