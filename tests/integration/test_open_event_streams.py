"""An open event stream does not hold up the api's end: dashboards and `--watch` keep one open for hours."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from httpx_retries import Retry, RetryTransport
from support.memory_services import AS_OPERATOR, OPERATOR_KEY, api_client, memory_services, register_everything
from support.specs import spec
from touchstone_stack.servers import free_ports

ENDS_WITHIN_SECONDS = 8
"""A container that was told to stop is killed after ten seconds."""


@pytest.fixture
def experiment(tmp_path: Path) -> str:
    """Its database is where the api below looks for it."""
    with api_client(memory_services(tmp_path)) as client:
        register_everything(client)
        posted: str = client.post("/v1/experiments", json=spec().model_dump(mode="json")).json()["id"]
        return posted


@pytest.fixture
def port() -> int:
    [port] = free_ports(1)
    return port


@pytest.fixture
def api(tmp_path: Path, experiment: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """As its image starts it, on a database that holds the experiment."""
    environment = os.environ | {
        "TOUCHSTONE_DATABASE_URL": f"sqlite:///{tmp_path / 'touchstone.db'}",
        "TOUCHSTONE_MIGRATE_ON_START": "false",
        "TOUCHSTONE_OPERATOR_KEY": OPERATOR_KEY,
        "TOUCHSTONE_S3_ENDPOINT": "127.0.0.1:1",  # no object store is needed for a history
        "TOUCHSTONE_S3_SECRET_KEY": "unused",
    }
    command = (sys.executable, "-m", "uvicorn", "--factory", "touchstone_api.main:create_app", "--port", str(port))
    with subprocess.Popen(command, env=environment) as child:
        yield child
        child.kill()


def test_the_api_ends_soon_although_a_stream_is_open(api: subprocess.Popen[bytes], experiment: str, port: int) -> None:
    waiting = RetryTransport(retry=Retry(total=60, backoff_factor=0.25, max_backoff_wait=0.5))
    with (
        httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=AS_OPERATOR, transport=waiting, timeout=30) as client,
        client.stream("GET", f"/v1/experiments/{experiment}/events") as answer,
    ):
        assert next(answer.iter_lines()).startswith("id: ")
        api.terminate()
        assert api.wait(ENDS_WITHIN_SECONDS) in (0, -15)
