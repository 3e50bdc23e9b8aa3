"""The services without PyTorch, each in an environment made of its own lock: no learning framework, and small."""

import json
import sys
from pathlib import Path

import pytest
from support.deployment import ROOT
from support.fresh_environment import find_uv, run_outside
from support.servers import server_missing
from support.workspace import closure

MEGABYTES = {"api": 170, "conductor": 170, "judge": 250}
"""By service: the resident memory that its imports may take. The judge's are scipy's most of all."""
FRAMEWORKS = ("torch", "torchvision", "open_clip", "diffusers", "transformers", "timm", "accelerate")
MODULES = {"api": 15, "conductor": 5, "judge": 3}
"""By service: at least as many modules are there to import."""


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
    run_outside(uv, "venv", "--quiet", "--python", sys.executable, str(folder))
    into = ("pip", "install", "--quiet", "--python", str(python))
    run_outside(uv, *into, "--require-hashes", "--requirement", str(ROOT / f"services/{service}/requirements.lock"))
    run_outside(uv, *into, "--no-deps", *(str(ROOT / path) for path in sorted(closure(f"services/{service}"))))
    return python


def measure(python: Path, code: str) -> dict[str, object]:
    """Runs `code`, which must leave `facts`, isolated from this checkout."""
    answer: dict[str, object] = json.loads(
        run_outside(str(python), "-I", "-c", f"{code}\nimport json; print(json.dumps(facts))")
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
