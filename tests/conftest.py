"""Fixtures every folder of tests sees; a test's folder says what it may use."""

from pathlib import Path

import hypothesis
import pytest
import pytest_socket
from support.browsing import browser
from support.running_stack import client, finished_experiment, http, server, stack, world
from support.servers import (
    artifacts_on_s3,
    fresh_valkey_url,
    new_database,
    postgres_server,
    postgres_url,
    s3_objects,
    s3_settings,
    valkey_url,
)

__all__ = [
    "artifacts_on_s3",
    "browser",
    "client",
    "finished_experiment",
    "fresh_valkey_url",
    "http",
    "new_database",
    "postgres_server",
    "postgres_url",
    "s3_objects",
    "s3_settings",
    "server",
    "stack",
    "valkey_url",
    "world",
]

# A busy machine is no finding: what an example may take is the test's own timeout.
hypothesis.settings.register_profile("touchstone", deadline=None)
hypothesis.settings.load_profile("touchstone")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--whole-demo", action="store_true", help="tests/demo: the study as it is, not its short form")
    parser.addoption("--every-image", action="store_true", help="tests/containers: the workers' images too")
    parser.addoption("--whole-faults", action="store_true", help="tests/faults: everything, for an hour")
    parser.addoption("--whole-fuzz", action="store_true", help="tests/integration/test_api_fuzzing.py: 10,000 cases")
    parser.addoption("--seeds", default="1", help="tests/faults: what is random follows from these, e.g. `2,3,4`")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Packed bytes name their test by number: two processes that pack them a second apart would differ."""
    packed = isinstance(val, bytes) and "\N{REPLACEMENT CHARACTER}" in val.decode(errors="replace")
    return argname if packed else None


WITHOUT_SOCKETS = frozenset({"unit", "contract"})
TESTS = Path(__file__).parent


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Unit and contract tests reach no network; a pair of Unix sockets is what event loops wake up by."""
    if item.path.is_relative_to(TESTS) and item.path.relative_to(TESTS).parts[0] in WITHOUT_SOCKETS:
        pytest_socket.disable_socket(allow_unix_socket=True)
