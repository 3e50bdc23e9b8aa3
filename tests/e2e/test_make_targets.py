"""The commands of the guides as a person types them: `make up`, the README's request, `make down`."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.deployment import ROOT
from touchstone_stack.servers import free_ports

README_SERVER = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like this repository and keeps its own `.touchstone`."""
    folder = tmp_path_factory.mktemp("checkout")
    for path in ROOT.iterdir():
        if path.name not in {".touchstone", ".git"}:
            (folder / path.name).symlink_to(path)
    return folder


@pytest.fixture(scope="module")
def port() -> int:
    return free_ports(1)[0]


def make(checkout: Path, port: int, target: str) -> str:
    """Without setting up the environment that runs the tests once more."""
    answer = subprocess.run(
        ("make", "--old-file=.venv/ready", target),
        cwd=checkout,
        env={**os.environ, "TOUCHSTONE_PORT": str(port)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


@pytest.fixture(scope="module")
def server(checkout: Path, port: int) -> Iterator[str]:
    try:
        make(checkout, port, "up")
        yield f"http://127.0.0.1:{port}"
    finally:
        make(checkout, port, "down")


def test_up_starts_a_system_that_is_ready_and_knows_the_miniverse(server: str) -> None:
    assert httpx.get(f"{server}/readyz", timeout=10).status_code == 200
    names = [entry["name"] for entry in httpx.get(f"{server}/v1/upstreams", timeout=10).json()["items"]]
    assert "miniverse" in names


def test_the_readmes_request_creates_an_experiment(server: str) -> None:
    [command] = re.findall(r"```sh\n(curl .*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert README_SERVER in command
    answer = subprocess.run(
        ("sh", "-c", command.replace(README_SERVER, server)), capture_output=True, text=True, timeout=60
    )
    assert answer.returncode == 0
    found = re.search(r'"id":\s*"(exp_\w+)"', answer.stdout)
    assert found, answer.stdout
    assert httpx.post(f"{server}/v1/experiments/{found[1]}/cancel", timeout=30).status_code == 200


def test_down_stops_it(checkout: Path, port: int, server: str) -> None:
    assert "stopped" in make(checkout, port, "down")
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{server}/healthz", timeout=5)
