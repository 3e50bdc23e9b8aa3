"""images/Dockerfile, proved without an engine: linted, every copied path there, every command importable.

tests/containers builds and runs the images."""

import fnmatch
import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from support.deployment import DOCKERFILE, IMAGES, LAST_STAGE, ROOT, WORKERS, Stage, read_stages, tool
from support.locks import entries
from support.workspace import closure, pyproject

SERVICES = sorted(set(IMAGES.values()))
"""Everything an image is built for."""
FOLDERS = {"client": "clients/python", **{name: f"services/{name}" for name in SERVICES if name != "client"}}
"""By service: the package its image is for."""
PYTHON_OF_IMAGES = {"python_full_version": "3.11.15", "python_version": "3.11", "sys_platform": "linux"}
STAGES = read_stages("api")
"""SERVICE decides nothing but what the last stage starts from."""


def image(service: str) -> Stage:
    return read_stages(service)[LAST_STAGE]


def test_every_service_and_the_client_have_an_image() -> None:
    found = {str(path.parent.relative_to(ROOT)) for path in ROOT.glob("services/*/pyproject.toml")}
    assert len(found) == 6
    assert set(FOLDERS.values()) == {*found, "clients/python"}
    for service in SERVICES:
        assert list(read_stages(service))[-1] == LAST_STAGE, "a build without a target makes the last stage"


def test_hadolint_finds_nothing() -> None:
    answer = subprocess.run(
        [tool("hadolint"), "--no-color", str(ROOT / DOCKERFILE)], capture_output=True, text=True, timeout=60
    )
    assert answer.returncode == 0, answer.stdout


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_copied_and_mounted_paths_are_in_the_tree_and_in_the_build_context(stage: str) -> None:
    for source in STAGES[stage].copied_from_tree():
        assert (ROOT / source).exists(), source
        assert in_context(source), f".dockerignore hides {source}"


def test_our_packages_and_their_locks_are_in_the_build_context() -> None:
    copied = STAGES["packages"].copied_from_tree()
    for service in SERVICES:
        for folder in closure(FOLDERS[service]):
            assert folder.split("/")[0] in copied
        assert in_context(f"{FOLDERS[service]}/requirements.lock")


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


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_gets_the_lock_and_the_packages_of_its_service(service: str, tmp_path: Path) -> None:
    answer, called = build_wheels(service, tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert {word.removeprefix("./") for word in called.split() if word.startswith("./")} == closure(FOLDERS[service])
    assert (tmp_path / "packages/requirements.lock").read_bytes() == (
        ROOT / FOLDERS[service] / "requirements.lock"
    ).read_bytes()


@pytest.mark.parametrize("service", SERVICES)
def test_what_an_image_installs_makes_its_lock_whole_with_the_layer_below(service: str, tmp_path: Path) -> None:
    shared, wanted = Path("images/worker.lock"), Path(FOLDERS[service]) / "requirements.lock"
    (tmp_path / "packages").mkdir()
    (tmp_path / "opt/touchstone").mkdir(parents=True)
    shutil.copy(ROOT / wanted, tmp_path / "packages")
    if service in WORKERS:
        shutil.copy(ROOT / shared, tmp_path / "opt/touchstone")
    installed = tmp_path / "installed"
    uv = f'for word; do last=$word; done; case "$*" in *--requirement*) cp "$last" {installed} ;; esac'
    answer = run_script("install.sh", tmp_path, uv=uv)
    assert answer.returncode == 0, answer.stderr
    own, below = in_an_image(installed), in_an_image(shared) if service in WORKERS else set()
    assert len(in_an_image(wanted)) > 20
    assert own == in_an_image(wanted) - below


def in_an_image(lock: Path) -> set[tuple[str, frozenset[str]]]:
    """Requirement and hashes of what a lock installs there; nothing where there is no file."""
    found = entries(lock).items() if (ROOT / lock).exists() else ()
    requirements = [(Requirement(entry), hashes) for entry, hashes in found]
    return {
        (f"{each.name}{each.specifier}", hashes)
        for each, hashes in requirements
        if each.marker is None or each.marker.evaluate(PYTHON_OF_IMAGES)
    }


@pytest.mark.parametrize("service", ["", "training", "touchstone-api"])
def test_a_service_without_an_image_is_refused_and_the_others_are_named(service: str, tmp_path: Path) -> None:
    answer, called = build_wheels(service, tmp_path)
    assert answer.returncode == 2
    assert f"'{service}'" in answer.stderr
    assert all(name in answer.stderr for name in SERVICES)
    assert called == ""


def build_wheels(service: str, folder: Path) -> tuple[subprocess.CompletedProcess[str], str]:
    """images/wheels.sh with a stand-in for Python; its answer, and what Python was called with."""
    record = folder / "record"
    record.touch()
    answer = run_script("wheels.sh", folder, service, python=f'echo "$*" > {record}')
    return answer, record.read_text()


def run_script(name: str, root: Path, *arguments: str, **programs: str) -> subprocess.CompletedProcess[str]:
    """A script of images/ with `root` for the root of the file system and stand-ins for the tools."""
    script = re.sub(r"(?<![\w.])/(?=(opt|packages|locks)\b)", f"{root}/", (ROOT / "images" / name).read_text())
    tools = root / "opt/tools/bin"
    tools.mkdir(parents=True)
    shutil.copy(ROOT / "images/sources.sh", root / "opt/tools")
    for program, line in programs.items():
        (tools / program).write_text(f"#!/bin/sh\n{line}\n")
        (tools / program).chmod(0o755)
    return subprocess.run(
        ["/bin/sh", "-c", script, name, *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
    )


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


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_is_unprivileged_checked_and_free_of_build_tools(service: str) -> None:
    stage = image(service)
    assert stage.all("USER")[-1].rest == "10001:10001"
    assert stage.all("HEALTHCHECK")
    commands = " ".join(each.rest for each in stage.all("RUN"))
    assert "pip uninstall" in commands
    assert not re.search(r"apt-get|pip install|gcc", commands)
    assert not any("/opt/tools" in each.rest for each in stage.all("COPY"))


def test_one_stage_installs_every_image_and_does_not_know_which_it_is() -> None:
    """What differs is in the stages below and in the packages that are mounted."""
    assert len(SERVICES) == 7
    assert len({image(service).own for service in SERVICES}) == 1
    assert "SERVICE" not in str(image("api").own)


def test_the_workers_share_the_layer_with_pytorch_and_no_other_image_has_it() -> None:
    torch = STAGES["torch"]
    assert "install-torch" in str(torch.own)
    shared = (*torch.inherited, *torch.own)
    for service in SERVICES:
        inherited = image(service).inherited
        assert ("install-torch" in str(inherited)) == (service in WORKERS)
        if service in WORKERS:
            assert inherited[: len(shared)] == shared
            assert [each.word for each in inherited[len(shared) :]] == ["CMD"], "another layer between them"


def test_every_stage_starts_from_one_pinned_base() -> None:
    bases = {stage.base for service in SERVICES for stage in read_stages(service).values()}
    assert len(STAGES) == 13
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", bases.pop())


@pytest.mark.parametrize("service", [service for service in SERVICES if service != "client"])
def test_commands_name_modules_of_the_service_that_exist(service: str) -> None:
    command, asked = image(service).command(), image(service).health_command()
    assert module_of(command).startswith(f"touchstone_{service}")
    for module in map(module_of, (command, asked)):
        assert importlib.util.find_spec(module) is not None, module


def module_of(command: list[str]) -> str:
    return command[command.index("-m") + 1] if "-m" in command else command[2].split(":")[0]


def test_the_clients_entry_point_is_the_command_its_package_installs() -> None:
    scripts = pyproject("clients/python")["project"]["scripts"]
    assert image("client").all("ENTRYPOINT")[-1].words()[0] in scripts


def test_without_cuda_torch_leaves_the_hash_pinned_rest_whole() -> None:
    """install-torch.sh splits the workers' lock into torch's family and the rest; nothing may fall between."""
    script = (ROOT / "images/install-torch.sh").read_text()
    [family] = re.findall(r"^family='\^(.*)=='$", script, flags=re.MULTILINE)
    names = re.findall(r"^([a-z0-9.-]+)==", (ROOT / "images/worker.lock").read_text(), flags=re.MULTILINE)
    taken_out = {name for name in names if re.fullmatch(family, name)}
    assert len(names) > 40
    assert {"torch", "torchvision"} <= taken_out
    assert taken_out == {name for name in names if re.match(r"nvidia|cuda|triton|torch$|torchvision", name)}
