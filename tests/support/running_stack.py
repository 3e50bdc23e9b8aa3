"""The whole system in separate processes on the tiny world, once per session, for e2e and fault tests."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.servers import server_missing
from touchstone import Client
from touchstone_contracts.views import ExperimentDetail
from touchstone_stack.lifecycle import Stack
from touchstone_stack.processes import Layout
from touchstone_stack.servers import ServerMissing, free_ports
from touchstone_stack.state import WORKERS, Folder

if TYPE_CHECKING:
    from support.tiny_world import TinyWorld

QUICK_RECOVERY = {
    "TOUCHSTONE_LEASE_SECONDS": "4",
    "TOUCHSTONE_HEARTBEAT_SECONDS": "1",
    "TOUCHSTONE_RETRY_SECONDS": "0.2",
    "TOUCHSTONE_POLL_SECONDS": "0.2",
    "TOUCHSTONE_EVENT_POLL_SECONDS": "0.1",
}
"""A dead worker is noticed within seconds; the defaults suit steps of minutes."""


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> "TinyWorld":
    from support.tiny_world import tiny_world  # torch and diffusers: seconds that unit tests shall not pay

    return tiny_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def stack(world: "TinyWorld", tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with fresh_stack(world, tmp_path_factory.mktemp("stack"), WORKERS) as stack:
        yield stack


@contextmanager
def fresh_stack(world: "TinyWorld", folder: Path, workers: Mapping[str, str]) -> Iterator[Stack]:
    """Running inside the block; `folder` is where everything it knows lies."""
    layout = Layout(Folder(folder.resolve()), world.library, threads=1, workers=workers, extra=QUICK_RECOVERY)
    stack = Stack(layout, world.catalogue, api_port=free_ports(1)[0])
    try:
        with stack.running():
            yield stack
    except ServerMissing as error:
        server_missing(str(error))


@pytest.fixture(scope="session")
def server(stack: Stack) -> str:
    state = stack.folder.read_state()
    assert state is not None
    return state.api_url


@pytest.fixture(scope="session")
def client(server: str) -> Iterator[Client]:
    with Client(server) as client:
        yield client


@pytest.fixture(scope="session")
def finished_experiment(client: Client) -> ExperimentDetail:
    """The tiny study, run to its end on the session's stack."""
    from support.tiny_world import tiny_study

    experiment, _ = client.post_document(tiny_study())
    return client.wait(experiment.id, timeout=120)
