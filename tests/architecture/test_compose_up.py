"""`make compose-up`: secrets are made once and never again, and images are pulled where a registry is named."""

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from support.deployment import ROOT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("Makefile", ".env.example"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def make(folder: Path, *arguments: str) -> str:
    answer = subprocess.run(
        ("make", *arguments), cwd=folder, capture_output=True, text=True, timeout=60, env={"PATH": os.environ["PATH"]}
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def secrets_in(folder: Path) -> dict[str, str]:
    asked = re.findall(r"^([A-Z0-9_]+)=$", (folder / ".env.example").read_text(), flags=re.MULTILINE)
    assert len(asked) >= 7
    pairs = dict(line.split("=", 1) for line in (folder / ".env").read_text().splitlines() if line[:1].isupper())
    return {name: pairs[name] for name in asked}


def test_it_writes_fresh_secrets_that_only_the_owner_reads(folder: Path) -> None:
    assert "wrote .env" in make(folder, "compose-up", "COMPOSE=echo compose")
    values = secrets_in(folder).values()
    assert len(set(values)) == len(values)
    # 20 letters and digits: what MinIO takes as a name, and what needs no escaping in a URL.
    assert all(re.fullmatch(r"[A-Za-z0-9]{20}", value) for value in values)
    assert stat.S_IMODE((folder / ".env").stat().st_mode) == 0o600


def test_it_leaves_a_file_that_is_there_as_it_is(folder: Path) -> None:
    """The data is locked with these secrets, also when the example is newer."""
    make(folder, "compose-up", "COMPOSE=echo compose")
    before = (folder / ".env").read_text()
    os.utime(folder / ".env.example")
    assert "wrote" not in make(folder, "compose-up", "COMPOSE=echo compose")
    assert (folder / ".env").read_text() == before


@pytest.mark.parametrize(
    ("registry", "commands"),
    [("", ["up --detach --build"]), ("ghcr.io/somebody/", ["pull", "up --detach --no-build"])],
)
def test_it_builds_unless_a_registry_is_named(folder: Path, registry: str, commands: list[str]) -> None:
    make(folder, ".env")
    with (folder / ".env").open("a") as file:
        file.write(f"TOUCHSTONE_REGISTRY={registry}\n")
    said = make(folder, "compose-up", "COMPOSE=echo compose").splitlines()
    assert said == [f"compose {command}" for command in (*commands, "ps")]
