"""The services without PyTorch, each in an environment made of its own lock: no learning framework, and small."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.deployment import ROOT
from support.servers import server_missing
from support.workspace import closure

MEGABYTES = {"api": 150, "conductor": 150, "judge": 250}
"""By service: the resident memory that its imports may take. The judge's are scipy's most of all."""
FRAMEWORKS = ("torch", "torchvision", "open_clip", "diffusers", "transformers", "timm", "accelerate")
MODULES = {"api": 15, "conductor": 5, "judge": 3}
"""By service: at least as many modules are there to import."""
SYSTEM_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def find_uv() -> str | None:
    bootstrapped = ROOT / ".uv/bin/uv"
    return str(bootstrapped) if bootstrapped.exists() else shutil.which("uv")


@pytest.fixture(scope="module", params=MODULES)
def service(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def python(service: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment holding the service's lock and the packages of ours that it needs."""
    uv = find_uv() or ""
    if not uv:
        server_missing("uv is missing; `make setup` brings it")
    folder = tmp_path_factory.mktemp(service) / "venv"
    python = folder / "bin/python"
    run(uv, "venv", "--quiet", "--python", sys.executable, str(folder))
    into = ("pip", "install", "--quiet", "--python", str(python))
    run(uv, *into, "--require-hashes", "--requirement", str(ROOT / f"services/{service}/requirements.lock"))
    run(uv, *into, "--no-deps", *(str(ROOT / path) for path in sorted(closure(f"services/{service}"))))
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


def test_importing_a_service_brings_no_learning_framework_and_stays_small(service: str, python: Path) -> None:
    facts = measure(
        python,
        f"import importlib, importlib.util, pathlib, pkgutil, touchstone_{service} as service\n"
        "names = [m.name for m in pkgutil.walk_packages(service.__path__, f'{service.__name__}.')]\n"
        "[importlib.import_module(n) for n in names]\n"
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        f"found = [n for n in {FRAMEWORKS!r} if importlib.util.find_spec(n)]\n"
        "resident = int(status.split('VmRSS:')[1].split()[0]) * 1024\n"
        "facts = {'modules': len(names), 'frameworks': found, 'resident': resident}",
    )
    assert facts["frameworks"] == []
    assert isinstance(facts["modules"], int)
    assert facts["modules"] >= MODULES[service]
    assert isinstance(facts["resident"], int)
    assert 10 < facts["resident"] / 1024**2 < MEGABYTES[service]
