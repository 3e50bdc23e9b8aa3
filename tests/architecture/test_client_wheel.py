"""The client's wheel, built from this repository, is all of ours that a notebook needs."""

import json
import re
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from support.deployment import ROOT
from support.finished_experiments import finished_on_memory
from support.fresh_environment import find_uv, run_outside
from support.memory_services import OPERATOR_KEY
from support.served_api import serving_api
from support.servers import server_missing
from support.workspace import dependencies, third_party
from touchstone.version import VERSION

CLIENT = "clients/python"
STUDY, SERVER = "studies/quick-look", "http://127.0.0.1:8000"
"""As the README's script names them."""
MODULES = {"touchstone": CLIENT, "touchstone_contracts": "libs/contracts", "touchstone_verdict": "libs/verdict"}
"""What the wheel holds, and the folder that each module comes from."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with a source distribution, and the wheel that was built from it."""
    uv = find_uv()
    if uv is None:
        server_missing("uv is missing; `make setup` brings it")
    folder = tmp_path_factory.mktemp("dist")
    run_outside(str(uv), "build", "--quiet", "--out-dir", str(folder), str(ROOT / CLIENT))
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    [found] = built.glob("*.whl")
    return found


def test_the_wheel_has_the_name_that_is_free_and_every_file_of_three_modules(wheel: Path) -> None:
    assert wheel.name.startswith("touchstone_lab-")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {
        str(path.relative_to(ROOT / folder / "src"))
        for module, folder in MODULES.items()
        for path in (ROOT / folder / "src" / module).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert len(expected) > 90
    assert held == expected


def test_the_wheel_asks_for_no_package_of_ours_and_for_all_that_its_modules_need(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [metadata] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        document = Parser().parsestr(archive.read(metadata).decode())
    asked = [Requirement(line) for line in document.get_all("Requires-Dist", [])]
    assert len(asked) >= 12
    assert [each.name for each in asked if each.name.startswith("touchstone")] == []
    always = {each.name: each.specifier for each in asked if each.marker is None}
    judging = {each.name: each.specifier for each in asked if each.marker and each.marker.evaluate({"extra": "judge"})}
    for needed in third_party("libs/contracts"):
        assert always[needed.name] == needed.specifier
    for needed in third_party("libs/verdict"):
        assert (always | judging)[needed.name] == needed.specifier
    assert {each.name for each in dependencies("libs/verdict")} - set(always | judging) == {"touchstone-contracts"}


def test_the_modules_are_imported_from_the_wheel_itself(wheel: Path) -> None:
    """A wheel is an archive that Python can import from: nothing of this checkout is in the way."""
    code = f"""
import json, sys
sys.path[:] = [{str(wheel)!r}] + [folder for folder in sys.path if "/src" not in folder]
import touchstone, touchstone.cli, touchstone_contracts, touchstone_verdict.judge
print(json.dumps([module.__file__ for module in (touchstone, touchstone_contracts, touchstone_verdict)]))
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert answer.returncode == 0, answer.stderr
    paths = json.loads(answer.stdout)
    assert len(paths) == 3
    assert all(path.startswith(str(wheel)) for path in paths)


def test_one_command_installs_it_where_the_script_of_the_readme_then_runs(wheel: Path, tmp_path: Path) -> None:
    """Against an api on a socket that has finished the experiment; its study replaces the README's."""
    uv, python = str(find_uv()), tmp_path / "venv/bin/python"
    run_outside(uv, "venv", "--quiet", "--python", sys.executable, str(tmp_path / "venv"))
    run_outside(uv, "pip", "install", "--quiet", "--python", str(python), f"{wheel}[notebook]")
    version = run_outside(str(python.with_name("touchstone")), "--version")
    assert version == f"touchstone-lab {VERSION}\n"
    study, script = tmp_path / "study.yaml", readme_script()
    assert len([line for line in script.splitlines() if line.strip()]) == 5
    assert script.count(STUDY) == script.count(SERVER) == 1
    services, _, told = finished_on_memory(tmp_path)
    study.write_text(told.spec.model_dump_json())
    with serving_api(services) as server:
        here = script.replace(STUDY, str(study)).replace(SERVER, server)
        printed = run_outside(str(python), "-I", "-c", here, TOUCHSTONE_API_KEY=OPERATOR_KEY)
    assert "Verdict: retrieved beats synthetic" in printed
    assert re.search(r"^19 +fine +synthetic +12 ", printed, flags=re.MULTILINE)


def readme_script() -> str:
    """The Python in the repository's README."""
    [script] = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), flags=re.MULTILINE | re.DOTALL)
    return str(script)
