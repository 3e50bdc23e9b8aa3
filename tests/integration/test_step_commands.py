"""`touchstone steps`, `log`, `retry` and `cancel` against an api on a socket."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.memory_services import (
    OPERATOR_KEY,
    OUT_OF_DISK,
    api_client,
    fail_step,
    memory_services,
    register_everything,
)
from support.served_api import serving_api
from support.specs import spec
from touchstone import Client
from touchstone.cli import app
from touchstone.credentials import KEY_VARIABLE
from touchstone_api.bootstrap import Services
from touchstone_contracts.views import StepView
from typer.testing import CliRunner, Result

WORLD = "upstream/world"


@dataclass(frozen=True)
class Terminal:
    """Somebody who types commands, and an experiment to type about."""

    services: Services
    server: str
    experiment: str

    def types(self, *words: str) -> Result:
        command = [*words, "--server", self.server]
        return CliRunner().invoke(app, command, env={KEY_VARIABLE: OPERATOR_KEY})

    def steps(self, owner: str) -> list[StepView]:
        with Client(self.server, key=OPERATOR_KEY) as client:
            return list(client.steps(owner))

    def fails(self, owner: str, kind: str) -> str:
        """The first step of a kind fails; its id."""
        step = next(step.id for step in self.steps(owner) if step.kind == kind)
        fail_step(self.services, step)
        return step


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    services = memory_services(tmp_path)
    with api_client(services) as client:
        register_everything(client)
        experiment = client.post("/v1/experiments", json=spec().model_dump(mode="json")).json()["id"]
    with serving_api(services) as server:
        yield Terminal(services, server, experiment)


def test_every_step_has_a_line_and_the_failed_ones_their_problem(terminal: Terminal) -> None:
    broken = terminal.fails(terminal.experiment, "generate_images")
    shown = terminal.types("steps", terminal.experiment)
    ids = [step.id[:12] for step in terminal.steps(terminal.experiment)]
    assert (shown.exit_code, len(ids) > 20) == (0, True)
    assert [each for each in ids if each not in shown.output] == []
    failed = terminal.types("steps", terminal.experiment, "--state", "failed").output
    assert [each for each in ids if each in failed] == [broken[:12]]
    assert OUT_OF_DISK.code in failed


def test_the_log_of_a_step_is_found_by_the_beginning_of_its_id(terminal: Terminal) -> None:
    assert terminal.types("log", terminal.experiment).output == f"no step of {terminal.experiment} has failed\n"
    broken = terminal.fails(terminal.experiment, "generate_images")
    for words in (("log", terminal.experiment), ("log", terminal.experiment, broken[:8])):
        shown = terminal.types(*words)
        assert shown.exit_code == 0
        assert "failed, attempt 1, worker w1, started 20" in shown.output
        assert "problem bug: Bug: no space left on device" in shown.output
        assert shown.output.endswith("writing shard 3\nOSError: 28\n")
    other = next(step.id for step in terminal.steps(terminal.experiment) if step.state == "waiting")
    assert "waiting, attempt 0" in terminal.types("log", terminal.experiment, other).output


@pytest.mark.parametrize("command", [("log",), ("retry", "--step")])
def test_a_beginning_that_is_not_that_of_one_step_is_refused(terminal: Terminal, command: tuple[str, ...]) -> None:
    name, *option = command
    unknown = terminal.types(name, terminal.experiment, *option, "xyz")
    assert unknown.exit_code == 2
    assert f"begins with 'xyz'; see: touchstone steps {terminal.experiment}" in unknown.output
    several = terminal.types(name, terminal.experiment, *option, "")
    assert (several.exit_code, "type more of the id" in several.output) == (2, True)


def test_one_step_is_retried_then_the_rest(terminal: Terminal) -> None:
    broken = terminal.fails(terminal.experiment, "generate_images")
    other = terminal.fails(terminal.experiment, "curate_images")
    again = terminal.types("retry", terminal.experiment, "--step", broken[:10])
    assert again.output == f"{broken} generate_images: waiting\n"
    assert [step.id for step in terminal.steps(terminal.experiment) if step.state == "failed"] == [other]
    assert terminal.types("retry", terminal.experiment).output == f"{terminal.experiment}: queued\n"
    refused = terminal.types("retry", terminal.experiment)
    assert (refused.exit_code, "only what failed or was cancelled can be retried" in refused.output) == (2, True)


def test_the_ingest_of_an_upstream_is_looked_into_and_retried(terminal: Terminal) -> None:
    index = terminal.fails(WORLD, "index_upstream")
    assert "index_upstream" in terminal.types("steps", WORLD).output
    assert "OSError: 28" in terminal.types("log", WORLD).output
    about = terminal.types("log", terminal.experiment).output
    assert "no step of exp_" in about
    assert "ingest of upstream 'world'" in about
    assert terminal.types("retry", WORLD, "--watch").exit_code == 2
    assert terminal.types("retry", WORLD).output == "upstream/world: queued\n"
    terminal.fails(WORLD, "index_upstream")
    assert terminal.types("retry", WORLD, "--step", index).output == f"{index} index_upstream: waiting\n"
    unknown = terminal.types("steps", "upstream/nowhere")
    assert (unknown.exit_code, "nowhere" in unknown.output) == (2, True)


def test_an_experiment_and_an_ingest_are_cancelled_by_their_ids(terminal: Terminal) -> None:
    for owner in (terminal.experiment, WORLD):
        cancelled = terminal.types("cancel", owner)
        assert (cancelled.exit_code, cancelled.output) == (0, f"{owner}: cancelled\n")
    assert terminal.types("retry", WORLD).output == f"{WORLD}: queued\n"
    assert terminal.types("cancel", "upstream/nowhere").exit_code != 0
