"""The whole system in separate processes on the tiny world, once per session, for e2e and fault tests."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from support.leaks import logs_of, looked_through, require_no_leak, secrets_of_stack
from support.servers import server_missing
from touchstone import Client
from touchstone_contracts.views import ExperimentDetail
from touchstone_stack.lifecycle import Stack
from touchstone_stack.processes import Layout, inherited_environment, shared_environment
from touchstone_stack.servers import ServerMissing, free_ports
from touchstone_stack.state import WORKERS, Folder, State

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


SETTLED_SECONDS = 2
"""Tests kill often and wait for no growing pause."""


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> "TinyWorld":
    from support.tiny_world import tiny_world  # torch and diffusers: seconds that unit tests shall not pay

    return tiny_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def stack(world: "TinyWorld", tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with fresh_stack(world, tmp_path_factory.mktemp("stack"), WORKERS) as stack:
        yield stack


@contextmanager
def fresh_stack(world: "TinyWorld", folder: Path, workers: Mapping[str, str], **settings: str) -> Iterator[Stack]:
    """Running inside the block; `folder` is where everything it knows lies, `settings` are variables of all of it."""
    extra = QUICK_RECOVERY | settings
    stack_folder = Folder(folder.resolve())
    layout = Layout(
        stack_folder, world.library, threads=1, workers=workers, extra=extra, settled_seconds=SETTLED_SECONDS
    )
    stack = Stack(layout, world.catalogue, api_port=free_ports(1)[0])
    try:
        with stack.running():
            yield stack
        require_no_leak(logs_of(stack), secrets_of_stack(stack))
    except ServerMissing as error:
        server_missing(str(error))


def environment_of(stack: Stack, **settings: str) -> dict[str, str]:
    """Of a further process of a stack that is up; `settings` are variables of that one alone."""
    state = state_of(stack)
    return inherited_environment(stack.folder) | shared_environment(stack.layout, state) | settings


def maintain(stack: Stack, command: str, *arguments: str, **settings: str) -> str:
    """What one of the conductor's commands prints."""
    run = [sys.executable, "-m", f"touchstone_conductor.{command}", *arguments]
    environment = environment_of(stack, **settings)
    return subprocess.run(run, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="session")
def server(stack: Stack) -> str:
    return state_of(stack).api_url


@pytest.fixture(scope="session")
def client(stack: Stack) -> Iterator[Client]:
    with state_of(stack).client() as client:
        yield client


@pytest.fixture(scope="session")
def http(stack: Stack) -> Iterator[httpx.Client]:
    """Requests without the SDK, by paths."""
    with asking(state_of(stack)) as http:
        yield http


def state_of(stack: Stack) -> State:
    """Of a stack that was started."""
    state = stack.folder.read_state()
    assert state is not None
    return state


def asking(state: State) -> httpx.Client:
    """As whoever started the stack."""
    key = state.secrets.operator_key.get_secret_value()
    headers, hooks = {"Authorization": f"Bearer {key}"}, looked_through([key])
    return httpx.Client(base_url=state.api_url, headers=headers, timeout=60, event_hooks=hooks)


@pytest.fixture(scope="session")
def finished_experiment(client: Client) -> ExperimentDetail:
    """The tiny study, run to its end on the session's stack."""
    from support.tiny_world import tiny_study

    experiment, _ = client.post_document(tiny_study())
    return client.wait(experiment.id, timeout=120)
