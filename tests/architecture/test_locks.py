"""The committed locks: every third-party requirement pinned with hashes, and nothing about where packages come from."""

import re
from collections import Counter
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from support.deployment import ROOT
from support.locks import entries
from support.workspace import FOLDERS, closure, third_party

BUILD = Path("images")
"""No package: the tools that build the images."""
LOCKED = sorted(p.parent.relative_to(ROOT) for p in ROOT.glob("*/*/requirements.lock") if p.parent != ROOT / BUILD)
SHARED = Path("images/worker.lock")
LIGHT = {
    "api": {"fastapi", "sqlalchemy", "uvicorn"},
    "conductor": {"celery", "psycopg", "sqlalchemy"},
    "judge": {"celery", "minio", "scipy"},
}
"""Services without PyTorch, and some of what each needs."""

Pins = dict[str, set[Version]]
"""By canonical name; more than one version where the platforms differ."""


def pins(lock: Path) -> Pins:
    found: Pins = {}
    for entry in entries(lock):
        requirement = Requirement(entry)
        [specifier] = requirement.specifier
        assert specifier.operator == "=="
        found.setdefault(canonicalize_name(requirement.name), set()).add(Version(specifier.version))
    return found


def unpinned(requirements: list[Requirement], found: Pins) -> list[str]:
    return [
        str(requirement)
        for requirement in requirements
        if not any(v in requirement.specifier for v in found.get(canonicalize_name(requirement.name), set()))
    ]


def test_the_locks_are_where_something_is_installed_on_its_own() -> None:
    assert {str(folder) for folder in LOCKED} == {
        "clients/python", "services/api", "services/conductor", "services/generator", "services/judge",
        "services/retrieval", "services/trainer",
    }  # fmt: skip


@pytest.mark.parametrize("folder", [".", *FOLDERS])
def test_the_root_lock_pins_what_every_package_asks_for(folder: str) -> None:
    missing = unpinned(third_party(folder, optional=True), pins(Path("requirements.lock")))
    assert not missing, f"run `make lock`: {missing}"


@pytest.mark.parametrize("folder", LOCKED, ids=str)
def test_a_lock_of_its_own_pins_what_the_package_and_its_libraries_ask_for(folder: Path) -> None:
    asked = [requirement for needed in closure(str(folder)) for requirement in third_party(needed)]
    assert len(asked) >= 8
    missing = unpinned(asked, pins(folder / "requirements.lock"))
    assert not missing, f"run `make lock`: {missing}"


@pytest.mark.parametrize("folder", LOCKED, ids=str)
def test_a_lock_of_its_own_is_a_part_of_the_root_lock(folder: Path) -> None:
    root = {entry.split(" ;")[0]: hashes for entry, hashes in entries(Path("requirements.lock")).items()}
    own = {entry.split(" ;")[0]: hashes for entry, hashes in entries(folder / "requirements.lock").items()}
    assert len(own) >= 10
    differing = [entry for entry, hashes in own.items() if root.get(entry) != hashes]
    assert not differing, f"run `make lock`: {differing}"


@pytest.mark.parametrize(
    "lock",
    [Path("requirements.lock"), SHARED, *(folder / "requirements.lock" for folder in (*LOCKED, BUILD))],
    ids=str,
)
def test_every_entry_has_hashes_and_no_address(lock: Path) -> None:
    found = entries(lock)
    assert len(found) >= (2 if lock.parent == BUILD else 10)
    assert all(hashes and all(re.fullmatch(r"sha256:[0-9a-f]{64}", h) for h in hashes) for hashes in found.values())
    assert not re.search(r"https?:|file:|index|find-links|@|#", (ROOT / lock).read_text())


def test_the_workers_share_what_two_of_them_need() -> None:
    workers = [entries(Path(f"services/{name}/requirements.lock")) for name in ("retrieval", "generator", "trainer")]
    counts = Counter(entry for lock in workers for entry in lock.items())
    wanted = dict(entry for entry, count in counts.items() if count > 1)
    assert len(wanted) > 60
    assert entries(SHARED) == wanted, "run `make lock`"


def test_the_build_tools_are_those_that_were_asked_for() -> None:
    lines = (ROOT / BUILD / "requirements.in").read_text().splitlines()
    asked = [Requirement(line) for line in lines if not line.startswith("#")]
    assert len(asked) == 3
    assert not unpinned(asked, pins(BUILD / "requirements.lock")), "run `make lock`"


@pytest.mark.parametrize(("service", "some"), LIGHT.items())
def test_light_services_are_locked_without_a_learning_framework(service: str, some: set[str]) -> None:
    names = set(pins(Path(f"services/{service}/requirements.lock")))
    assert names.isdisjoint(
        {"torch", "torchvision", "open-clip-torch", "diffusers", "transformers", "timm", "accelerate"}
    )
    assert some <= names


def test_the_judge_is_locked_without_a_database() -> None:
    assert set(pins(Path("services/judge/requirements.lock"))).isdisjoint({"sqlalchemy", "alembic", "psycopg"})
