"""The images, proved without an engine: linted, every copied path there, every command importable."""

import fnmatch
import importlib.util
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from support.deployment import DOCKERFILES, ROOT, Dockerfile, tool

IMAGES = sorted(DOCKERFILES)


def test_every_service_has_a_dockerfile() -> None:
    found = {path.parent for path in ROOT.glob("services/*/pyproject.toml")}
    assert len(found) == 4
    assert {ROOT / path.parent for path in DOCKERFILES.values()} >= found


@pytest.mark.parametrize("image", IMAGES)
def test_hadolint_finds_nothing(image: str) -> None:
    answer = subprocess.run(
        [tool("hadolint"), "--no-color", str(ROOT / DOCKERFILES[image])], capture_output=True, text=True, timeout=60
    )
    assert answer.returncode == 0, answer.stdout


@pytest.mark.parametrize("image", IMAGES)
def test_copied_paths_are_in_the_tree_and_in_the_build_context(image: str) -> None:
    sources = Dockerfile.read(DOCKERFILES[image]).copied_from_tree()
    assert len(sources) >= 3
    for source in sources:
        assert (ROOT / source).exists(), source
        assert in_context(source), f".dockerignore hides {source}"


def in_context(source: str) -> bool:
    """.dockerignore's rule: the last matching pattern decides."""
    kept = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        if line and not line.startswith("#") and any(fnmatch.fnmatch(part, pattern) for part in prefixes(source)):
            kept = line.startswith("!")
    return kept


def prefixes(path: str) -> list[str]:
    return [str(Path(*Path(path).parts[: i + 1])) for i in range(len(Path(path).parts))]


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_installs_its_own_lock_with_hashes_and_its_packages_without_dependencies(image: str) -> None:
    file = Dockerfile.read(DOCKERFILES[image])
    folder = DOCKERFILES[image].parent
    commands = " ".join(each.rest for each in file.all("RUN", stage=0))
    assert f"{folder}/requirements.lock" in file.copied_from_tree()
    assert "--require-hashes --requirement requirements.lock" in commands
    installed = set(re.findall(r"(?<=\./)(?:libs|services|clients)/\w+", commands))
    assert installed == workspace_closure(folder)
    assert installed <= set(file.copied_from_tree())


def workspace_closure(folder: Path) -> set[str]:
    """The workspace folders a package needs, itself included."""
    folders = {tomllib.loads(p.read_text())["project"]["name"]: p.parent for p in ROOT.glob("*/*/pyproject.toml")}
    wanted, todo = set(), [folder]
    while todo:
        current = todo.pop()
        wanted.add(str(current))
        project = tomllib.loads((ROOT / current / "pyproject.toml").read_text())["project"]
        todo += [folders[name].relative_to(ROOT) for name in project["dependencies"] if name in folders]
    return wanted


@pytest.mark.parametrize("image", IMAGES)
def test_the_last_stage_is_unprivileged_checked_and_free_of_build_tools(image: str) -> None:
    file = Dockerfile.read(DOCKERFILES[image])
    assert len(file.stages) == 2
    assert file.all("USER", stage=-1)[-1].rest == "10001:10001"
    assert len(file.all("HEALTHCHECK", stage=-1)) == 1
    commands = " ".join(each.rest for each in file.all("RUN", stage=-1))
    assert "pip uninstall" in commands
    assert not re.search(r"apt-get|pip install|uv |gcc", commands)


def test_every_stage_starts_from_one_pinned_base() -> None:
    bases = {each.rest.split()[0] for path in DOCKERFILES.values() for each in Dockerfile.read(path).all("FROM")}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", bases.pop())


@pytest.mark.parametrize("image", [image for image in IMAGES if image != "touchstone-client"])
def test_commands_name_modules_that_exist(image: str) -> None:
    file = Dockerfile.read(DOCKERFILES[image])
    for command in (file.command(), file.health_command()):
        module = command[command.index("-m") + 1] if "-m" in command else command[2].split(":")[0]
        assert importlib.util.find_spec(module) is not None, module


def test_the_clients_entry_point_is_the_command_its_package_installs() -> None:
    file = Dockerfile.read(DOCKERFILES["touchstone-client"])
    project = tomllib.loads((ROOT / "clients/python/pyproject.toml").read_text())["project"]
    assert file.all("ENTRYPOINT", stage=-1)[-1].words()[0] in project["scripts"]


@pytest.mark.parametrize("service", ["retrieval", "generator", "trainer"])
def test_with_an_index_of_its_own_torch_leaves_the_hash_pinned_rest_whole(service: str) -> None:
    """The Dockerfile splits the lock into torch's family and the rest; nothing may fall between."""
    file = Dockerfile.read(Path(f"services/{service}/Dockerfile"))
    [family] = [each.rest.split("=", 1)[1].strip('"') for each in file.all("ARG") if "TORCH_FAMILY" in each.rest]
    lock = (ROOT / f"services/{service}/requirements.lock").read_text()
    names = re.findall(r"^([a-z0-9.-]+)==", lock, flags=re.MULTILINE)
    taken_out = {name for name in names if re.fullmatch(family, name)}
    assert "torch" in taken_out
    assert len(names) > 40
    assert not {name for name in set(names) - taken_out if re.match(r"nvidia|cuda|triton|torch$|torchvision", name)}
    assert taken_out <= {n for n in names if re.match(r"nvidia|cuda|triton|torch$|torchvision", n)}
