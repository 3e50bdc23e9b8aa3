"""The api in an environment made of its own lock: no learning framework, and small."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.deployment import ROOT
from support.servers import server_missing

RESIDENT_LIMIT = 150 * 1024**2
FRAMEWORKS = ("torch", "torchvision", "open_clip", "diffusers", "transformers", "timm", "accelerate")
OWN = ("libs/contracts", "libs/runtime", "services/api")
SYSTEM_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def find_uv() -> str | None:
    bootstrapped = ROOT / ".uv/bin/uv"
    return str(bootstrapped) if bootstrapped.exists() else shutil.which("uv")


@pytest.fixture(scope="module")
def api_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment holding services/api/requirements.lock and the three own packages."""
    uv = find_uv() or ""
    if not uv:
        server_missing("uv is missing; `make setup` brings it")
    folder = tmp_path_factory.mktemp("api") / "venv"
    python = folder / "bin/python"
    run(uv, "venv", "--quiet", "--python", sys.executable, str(folder))
    into = ("pip", "install", "--quiet", "--python", str(python))
    run(uv, *into, "--require-hashes", "--requirement", str(ROOT / "services/api/requirements.lock"))
    run(uv, *into, "--no-deps", *(str(ROOT / path) for path in OWN))
    return python


def run(*command: str) -> str:
    certificates = {"UV_SYSTEM_CERTS": "true"} if SYSTEM_CERTIFICATES.exists() else {}
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    answer = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment | certificates)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def measure(python: Path, code: str) -> dict[str, object]:
    """Runs `code`, which must leave `facts`, isolated from this checkout."""
    answer: dict[str, object] = json.loads(
        run(str(python), "-I", "-c", f"{code}\nimport json; print(json.dumps(facts))")
    )
    return answer


def test_importing_the_api_stays_small(api_python: Path) -> None:
    facts = measure(
        api_python,
        "import touchstone_api.main, pathlib\n"
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        "facts = {'resident': int(status.split('VmRSS:')[1].split()[0]) * 1024}",
    )
    assert isinstance(facts["resident"], int)
    assert 10 * 1024**2 < facts["resident"] < RESIDENT_LIMIT


def test_every_module_of_the_api_imports_without_a_learning_framework(api_python: Path) -> None:
    facts = measure(
        api_python,
        "import importlib, importlib.util, pkgutil, touchstone_api\n"
        "names = [m.name for m in pkgutil.walk_packages(touchstone_api.__path__, 'touchstone_api.')]\n"
        "names = [n for n in names if '.migrations' not in n and not n.endswith('__main__')]\n"
        "[importlib.import_module(n) for n in names]\n"
        f"found = [n for n in {FRAMEWORKS!r} if importlib.util.find_spec(n)]\n"
        "facts = {'modules': len(names), 'frameworks': found}",
    )
    assert facts["frameworks"] == []
    assert isinstance(facts["modules"], int)
    assert facts["modules"] >= 15
