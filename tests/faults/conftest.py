"""One stack for all faults, behind proxies; how much is tried, with which seeds; and what was counted, at the end."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.amounts import COUNTED, WHOLE, Amounts, Tally
from support.trials import Trials, trials
from touchstone import Client
from touchstone_contracts.views import ExperimentDetail, Results
from touchstone_stack.lifecycle import Stack

if TYPE_CHECKING:
    from support.tiny_world import TinyWorld


@pytest.fixture(scope="session")
def amounts(pytestconfig: pytest.Config) -> Amounts:
    whole = WHOLE if pytestconfig.getoption("--whole-faults") else Amounts()
    return replace(whole, schedules=-(-whole.schedules // len(seeds_of(pytestconfig))))


def seeds_of(config: pytest.Config) -> list[int]:
    return [int(seed) for seed in config.getoption("--seeds").replace(",", " ").split()]


@pytest.fixture
def counted(request: pytest.FixtureRequest) -> Tally:
    return Tally(request.node)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", seeds_of(metafunc.config))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--whole-faults"):
        left_out = [item for item in items if item.get_closest_marker("only_whole_faults")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if lines := list(counted_by(terminalreporter)):
        terminalreporter.section("faults")
        for line in lines:
            terminalreporter.write_line(line)


def counted_by(terminalreporter: pytest.TerminalReporter) -> Iterator[str]:
    """Of failed tests too."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        if report.when == "call":
            yield from (str(value) for name, value in report.user_properties if name == COUNTED)


@pytest.fixture(scope="session")
def faulted(world: "TinyWorld", tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trials]:
    with trials(world, tmp_path_factory.mktemp("faults"), TOUCHSTONE_SAVEPOINT_SECONDS="0.5") as found:
        yield found


@pytest.fixture(scope="session")
def stack(faulted: Trials) -> Stack:
    return faulted.stack


@pytest.fixture(scope="session")
def server(faulted: Trials) -> str:
    return faulted.state.api_url


@pytest.fixture(scope="session")
def client(faulted: Trials) -> Client:
    return faulted.client


@pytest.fixture(scope="session")
def undisturbed(faulted: Trials) -> tuple[ExperimentDetail, Results]:
    return faulted.first, faulted.results
