"""images/Dockerfile, proved without an engine: linted, every copied path there, every command importable.

tests/containers builds and runs the images."""

import fnmatch
import importlib.util
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from support.deployment import DOCKERFILE, ROOT, TARGETS, WORKERS, read_stages, tool

STAGES = read_stages()
FOLDERS = {"client": Path("clients/python"), **{name: Path("services") / name for name in ("api", *WORKERS)}}
"""By target: the package an image is for."""
IMAGES = sorted(FOLDERS)


def test_every_service_and_the_client_have_an_image() -> None:
    found = {path.parent.relative_to(ROOT) for path in ROOT.glob("services/*/pyproject.toml")}
    assert len(found) == 4
    assert set(FOLDERS.values()) == {*found, Path("clients/python")}
    assert set(TARGETS.values()) == set(FOLDERS) <= set(STAGES)


def test_hadolint_finds_nothing() -> None:
    answer = subprocess.run(
        [tool("hadolint"), "--no-color", str(ROOT / DOCKERFILE)], capture_output=True, text=True, timeout=60
    )
    assert answer.returncode == 0, answer.stdout


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_copied_and_mounted_paths_are_in_the_tree_and_in_the_build_context(stage: str) -> None:
    sources = STAGES[stage].copied_from_tree()
    assert sources or stage == "base"
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


@pytest.mark.parametrize("target", IMAGES)
def test_an_image_installs_its_own_lock_and_its_own_packages(target: str) -> None:
    commands = " ".join(each.rest for each in STAGES[target].own if each.word == "RUN")
    assert f"source={FOLDERS[target]}/requirements.lock" in commands
    assert f"source=/wheels/{target}" in commands
    assert set(wheels(target)) == workspace_closure(FOLDERS[target])


def wheels(target: str) -> list[str]:
    """The workspace folders that images/wheels.sh builds for an image."""
    text = (ROOT / "images/wheels.sh").read_text()
    [line] = re.findall(rf"^build {target} (.*)$", text, flags=re.MULTILINE)
    return [folder.removeprefix("./") for folder in line.split()]


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


def test_everything_that_is_downloaded_is_checked_by_hash_except_torch_without_cuda() -> None:
    """PyTorch's own index has other bytes than the locked ones, so two packages come by version."""
    calls = [
        call
        for script in sorted((ROOT / "images").glob("*.sh"))
        for call in re.findall(r"pip (?:install|wheel) (?:[^\n]|(?<=\\)\n)*", script.read_text())
    ]
    assert len(calls) >= 7
    unchecked = [call for call in calls if "--require-hashes" not in call and "--no-index" not in call]
    assert len(unchecked) == 2
    assert all(call.rstrip().endswith("/tmp/torch.txt") for call in unchecked)


@pytest.mark.parametrize("target", IMAGES)
def test_an_image_is_unprivileged_checked_and_free_of_build_tools(target: str) -> None:
    stage = STAGES[target]
    assert stage.all("USER")[-1].rest == "10001:10001"
    assert stage.all("HEALTHCHECK")
    commands = " ".join(each.rest for each in stage.all("RUN"))
    assert "pip uninstall" in commands
    assert not re.search(r"apt-get|pip install|gcc", commands)
    assert not any("/opt/tools" in each.rest for each in stage.all("COPY"))


def test_the_workers_share_the_layer_with_pytorch() -> None:
    for name in WORKERS:
        assert STAGES[name].inherited == (*STAGES["worker"].inherited, *STAGES["worker"].own)
        assert not any("install-torch" in each.rest for each in STAGES[name].own)


def test_every_stage_starts_from_one_pinned_base() -> None:
    bases = {stage.base for stage in STAGES.values()}
    assert len(STAGES) == 8
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", bases.pop())


@pytest.mark.parametrize("target", [target for target in IMAGES if target != "client"])
def test_commands_name_modules_that_exist(target: str) -> None:
    for command in (STAGES[target].command(), STAGES[target].health_command()):
        module = command[command.index("-m") + 1] if "-m" in command else command[2].split(":")[0]
        assert importlib.util.find_spec(module) is not None, module


def test_the_clients_entry_point_is_the_command_its_package_installs() -> None:
    project = tomllib.loads((ROOT / "clients/python/pyproject.toml").read_text())["project"]
    assert STAGES["client"].all("ENTRYPOINT")[-1].words()[0] in project["scripts"]


def test_without_cuda_torch_leaves_the_hash_pinned_rest_whole() -> None:
    """install-torch.sh splits the workers' lock into torch's family and the rest; nothing may fall between."""
    script = (ROOT / "images/install-torch.sh").read_text()
    [family] = re.findall(r"^family='\^(.*)=='$", script, flags=re.MULTILINE)
    names = re.findall(r"^([a-z0-9.-]+)==", (ROOT / "images/worker.lock").read_text(), flags=re.MULTILINE)
    taken_out = {name for name in names if re.fullmatch(family, name)}
    assert len(names) > 40
    assert {"torch", "torchvision"} <= taken_out
    assert taken_out == {name for name in names if re.match(r"nvidia|cuda|triton|torch$|torchvision", name)}
