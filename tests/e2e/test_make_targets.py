"""The commands of the guides as a person types them: `make up`, the README's request, `make down`."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.deployment import ROOT, lookalike
from touchstone_stack.servers import free_ports

README_SERVER = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like this repository and keeps its own `.touchstone`."""
    return lookalike(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="module")
def port() -> int:
    return free_ports(1)[0]


def make(checkout: Path, port: int, target: str, *variables: str) -> str:
    """Without setting up the environment that runs the tests once more."""
    answer = subprocess.run(
        ("make", "--old-file=.venv/ready", target, *variables),
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


@pytest.fixture(scope="module")
def http(checkout: Path, server: str) -> httpx.Client:
    key = (checkout / ".touchstone/key").read_text()
    return httpx.Client(base_url=server, headers={"Authorization": f"Bearer {key}"}, timeout=30)


def test_up_starts_a_system_that_is_ready_and_knows_the_miniverse(server: str, http: httpx.Client) -> None:
    assert httpx.get(f"{server}/readyz", timeout=10).status_code == 200
    names = [entry["name"] for entry in http.get("/v1/upstreams").json()["items"]]
    assert "miniverse" in names


def test_the_readmes_request_creates_an_experiment(checkout: Path, server: str, http: httpx.Client) -> None:
    [command] = re.findall(r"```sh\n(curl .*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert README_SERVER in command
    answer = subprocess.run(
        ("sh", "-c", command.replace(README_SERVER, server)), cwd=checkout, capture_output=True, text=True, timeout=60
    )
    assert answer.returncode == 0
    found = re.search(r'"id":\s*"(exp_\w+)"', answer.stdout)
    assert found, answer.stdout
    assert http.post(f"/v1/experiments/{found[1]}/cancel").status_code == 200


def test_a_backup_brings_back_an_experiment_that_was_deleted(
    checkout: Path, port: int, server: str, http: httpx.Client, tmp_path: Path
) -> None:
    [experiment] = http.get("/v1/experiments").json()["items"]
    make(checkout, port, "backup", f"TO={tmp_path}")
    assert http.delete(f"/v1/experiments/{experiment['id']}").status_code == 204
    assert "rows of 20" in make(checkout, port, "restore", f"FROM={tmp_path}")
    [again] = http.get("/v1/experiments").json()["items"]
    assert (again["id"], again["phase"]) == (experiment["id"], experiment["phase"])
    assert httpx.get(f"{server}/readyz", timeout=10).status_code == 200


def test_weights_are_collected_and_images_taken_down(checkout: Path, port: int, http: httpx.Client) -> None:
    said = make(checkout, port, "collect", "WEIGHTS=none", "DELETE=1")
    assert "the weights of 0 runs" in said
    looked = make(checkout, port, "takedown", "KEY=no such key", "LOOK=1")
    assert "0 images found, 0 steps made again" in looked
    make(checkout, port, "takedown", f"IMAGE={'0' * 64}", "REASON=a test")
    [takedown] = http.get("/v1/takedowns").json()["items"]
    assert (takedown["images"], takedown["reason"]) == (["0" * 64], "a test")


def test_down_stops_it(checkout: Path, port: int, server: str) -> None:
    assert "stopped" in make(checkout, port, "down")
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{server}/healthz", timeout=5)
