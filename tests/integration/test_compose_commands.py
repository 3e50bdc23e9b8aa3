"""Every process of docker-compose.yml, started here by its own command with its own environment.

Only what differs between a container and this machine is rewritten: addresses of servers, ports, and the location
of the library; the vector index is the embedded one. A process passes when its own health check does."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from support.deployment import PROCESSES, ROOT, compose_services, image_of, tool
from touchstone_runtime.objects import S3Objects
from touchstone_runtime.settings import RuntimeSettings
from touchstone_stack.servers import end, free_ports, last_lines

API_PORT = "8000"
GRACE_SECONDS = 120
"""As compose gives a worker, which finishes its step first."""
HEALTHY_WITHIN_CHECKS = 400
"""A check takes about a fifth of a second; torch may take a minute to import on a busy machine."""


@dataclass(frozen=True)
class Process:
    """A service as compose would start it, rewritten for this machine."""

    name: str
    command: list[str]
    health: list[str]
    environment: dict[str, str]


def declared(name: str, services: Mapping[str, Any]) -> Process:
    """Command, health check and environment as declared by image and compose together."""
    service = services[name]
    image = image_of(service["image"])
    assert image is not None
    health = service.get("healthcheck", {}).get("test", ["CMD", *image.health_command()])
    assert health[0] == "CMD"
    return Process(
        name=name,
        command=service.get("command") or image.command(),
        health=health[1:],
        # Without a value here or in .env a variable is not set.
        environment=image.environment()
        | {key: str(value) for key, value in service["environment"].items() if value is not None},
    )


def rewritten(process: Process, addresses: Mapping[str, str], port: int) -> Process:
    """The same with `addresses` by variable name and this machine's programs; `port` answers the health check."""
    fixed = {"python": sys.executable, "uvicorn": tool("uvicorn"), API_PORT: str(port), "0.0.0.0": "127.0.0.1"}
    changes = {name: value for name, value in addresses.items() if name in process.environment}
    if "TOUCHSTONE_METRICS_PORT" in process.environment:
        # The api answers its health check at its other port.
        metrics = port if API_PORT not in process.command else free_ports(1)[0]
        changes |= {"TOUCHSTONE_METRICS_PORT": str(metrics), "TOUCHSTONE_METRICS_HOST": "127.0.0.1"}
    # Nothing of this machine's environment but the path: what the process needs must be declared.
    environment = {**process.environment, **changes, "PATH": os.environ["PATH"]}
    return Process(
        name=process.name,
        command=[fixed.get(word, word) for word in process.command],
        health=[fixed.get(word, word) for word in process.health],
        environment=environment,
    )


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return compose_services("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compose")


@pytest.fixture(scope="module")
def addresses(
    valkey_url: str, s3_settings: RuntimeSettings, s3_objects: S3Objects, postgres_server: str, new_database: Any,
    folder: Path,
) -> dict[str, str]:  # fmt: skip
    """What stands in for the servers of compose, by variable."""
    return {
        "TOUCHSTONE_REDIS_URL": valkey_url,
        "TOUCHSTONE_DATABASE_URL": new_database(postgres_server),
        "TOUCHSTONE_S3_ENDPOINT": s3_settings.s3_endpoint,
        "TOUCHSTONE_S3_ACCESS_KEY": s3_settings.s3_access_key,
        "TOUCHSTONE_S3_SECRET_KEY": s3_settings.s3_secret_key.get_secret_value(),
        "TOUCHSTONE_S3_BUCKET": s3_settings.s3_bucket,
        "TOUCHSTONE_QDRANT_URL": "",
        "TOUCHSTONE_LIBRARY": str(ROOT / "miniverse"),
        "HF_HOME": str(folder / "huggingface"),
    }


@pytest.fixture(scope="module")
def started(
    services: dict[str, Any], addresses: dict[str, str], folder: Path
) -> Iterator[dict[str, tuple[Process, subprocess.Popen[bytes]]]]:
    """All at once, as compose would have them."""
    ports = dict(zip(PROCESSES, free_ports(len(PROCESSES)), strict=True))
    with ExitStack() as stack:
        found = {}
        for name in PROCESSES:
            process = rewritten(declared(name, services), addresses, ports[name])
            log = stack.enter_context((folder / f"{name}.log").open("wb"))
            child = subprocess.Popen(
                process.command, env=process.environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT
            )
            stack.callback(end, child)
            found[name] = (process, child)
        yield found


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_becomes_healthy_by_its_own_check(
    started: dict[str, tuple[Process, subprocess.Popen[bytes]]], folder: Path, name: str
) -> None:
    process, child = started[name]
    for _ in range(HEALTHY_WITHIN_CHECKS):
        assert child.poll() is None, last_lines(folder / f"{name}.log")
        if subprocess.run(process.health, env=process.environment, capture_output=True, timeout=30).returncode == 0:
            return
    pytest.fail(f"{name} did not become healthy:\n{last_lines(folder / f'{name}.log')}")


def api_address(started: dict[str, tuple[Process, subprocess.Popen[bytes]]]) -> str:
    command = started["api"][0].command
    return f"http://127.0.0.1:{command[command.index('--port') + 1]}"


def test_the_api_reaches_every_server_it_was_given(
    started: dict[str, tuple[Process, subprocess.Popen[bytes]]],
) -> None:
    with urllib.request.urlopen(f"{api_address(started)}/readyz", timeout=10) as answer:
        assert answer.status == 200
        assert set(json.loads(answer.read())) == {"database", "object_store"}


def test_the_catalogue_is_registered_by_its_command_and_again_without_harm(
    services: dict[str, Any], started: dict[str, tuple[Process, subprocess.Popen[bytes]]], folder: Path
) -> None:
    service = services["catalogue"]
    client = image_of(service["image"])
    assert client is not None
    [program] = client.all("ENTRYPOINT")[-1].words()
    key = service["environment"]["TOUCHSTONE_API_KEY"]
    assert service["environment"] == {"TOUCHSTONE_SERVER": "http://api:8000", "TOUCHSTONE_API_KEY": key}
    library = next(volume for volume in service["volumes"] if volume["target"] == "/library")
    command = [tool(program), *(word.replace("/library", library["source"]) for word in service["command"])]
    environment = {"TOUCHSTONE_SERVER": api_address(started), "TOUCHSTONE_API_KEY": key, "PATH": os.environ["PATH"]}
    for _ in range(2):
        answer = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=60)
        assert answer.returncode == 0, answer.stderr


def test_addresses_in_compose_name_its_own_services(services: dict[str, Any]) -> None:
    hosts = set()
    for name in PROCESSES:
        environment = services[name]["environment"]
        urls = [environment[key] for key in environment if key.endswith("_URL")]
        hosts |= {urlsplit(url).hostname for url in urls} | {environment["TOUCHSTONE_S3_ENDPOINT"].split(":")[0]}
    assert hosts == {"valkey", "minio", "postgres", "qdrant"}
    assert hosts <= set(services)


def test_every_process_ends_when_it_is_told_to(
    started: dict[str, tuple[Process, subprocess.Popen[bytes]]], folder: Path
) -> None:
    for name, (_, child) in started.items():
        child.terminate()
        assert child.wait(GRACE_SECONDS) in (0, -15), f"{name}: {last_lines(folder / f'{name}.log')}"
