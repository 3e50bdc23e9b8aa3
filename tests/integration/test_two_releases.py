"""Workers of two releases side by side, as real processes on a real Valkey and S3: each takes what it serves."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.echo_steps import echo_worker
from support.memory_services import memory_services
from touchstone_conductor.conductor import Conductor
from touchstone_contracts.catalogue import ClassLabel
from touchstone_contracts.messages import StepMessage, StepStarted
from touchstone_contracts.steps import EARLIER, WRITE_PROMPTS, AnyContract, WritePrompts
from touchstone_planning.dag import Plan
from touchstone_planning.state import Step
from touchstone_planning.transitions import Limits
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.objects import S3Objects
from touchstone_runtime.presence import connect_presence
from touchstone_runtime.queue import CeleryDispatcher, celery_app
from touchstone_runtime.reports import connect_reports
from touchstone_runtime.settings import RuntimeSettings
from touchstone_store.plans import Survey, create_plan
from touchstone_store.steps import owned_steps

V1, V2 = EARLIER["write_prompts.1"], WRITE_PROMPTS
V9 = replace(WRITE_PROMPTS, version=9)
DEADLINE_SECONDS = 60
LEASE_SECONDS = 2


class Deployment:
    """This release's conductor, and workers of any release."""

    def __init__(self, valkey_url: str, s3: RuntimeSettings, artifacts: Artifacts, folder: Path) -> None:
        self.artifacts, self._url, self._s3, self._folder = artifacts, valkey_url, s3, folder
        self._running = ExitStack()
        self.store = memory_services(folder).store
        self.dispatcher = CeleryDispatcher(celery_app(valkey_url))
        self.conductor = Conductor(
            self.store,
            artifacts,
            connect_reports(valkey_url),
            self.dispatcher,
            connect_presence(valkey_url),
            limits=Limits(lease=timedelta(seconds=LEASE_SECONDS), retry=timedelta(0)),
        )

    def start(self, name: str, versions: str) -> subprocess.Popen[bytes]:
        worker = echo_worker(
            self._url,
            self._s3,
            self._folder / f"{name}.log",
            versions=versions,
            worker_name=name,
            heartbeat_seconds=0.2,
        )
        return self._running.enter_context(worker)

    def post(self, name: str, *wishes: tuple[AnyContract, str]) -> list[str]:
        """One plan with a step for each (contract, wish); their ids."""
        plan = self.plan(name, *wishes)
        with self.store.write() as session:
            create_plan(session, name, plan.steps, Survey(), datetime.now(UTC))
        return [step.id for step in plan.steps]

    def plan(self, name: str, *wishes: tuple[AnyContract, str]) -> Plan:
        plan = Plan()
        for number, (contract, wish) in enumerate(wishes):
            # Tests share an object store, and with them the results of equal steps.
            template = f"{wish} {name} {self._folder} {os.getpid()} {number} {{name}}"
            classes = (ClassLabel(id=0, display_name="cat"),)
            request = WritePrompts(classes=classes, templates=(template,), images_per_class=1)
            plan.add(contract, request, f"{name}/{number}")
        for fact in plan.facts.blobs.values():
            self.artifacts.put_blob(fact)
        return plan

    def steps(self, plan: str) -> dict[str, Step]:
        with self.store.read() as session:
            return {owned.step.id: owned.step for owned in owned_steps(session, plan)}

    def run_until(self, enough: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not enough():
            assert time.monotonic() < deadline
            assert self.conductor.cycle(0.05)

    def run_to_the_end(self, plan: str) -> dict[str, Step]:
        self.run_until(lambda: all(step.finished_at for step in self.steps(plan).values()))
        return self.steps(plan)

    def expiries(self) -> float:
        metrics = self.conductor.metrics.registry.collect()
        samples = [each for metric in metrics if metric.name == "touchstone_lease_expiries" for each in metric.samples]
        assert len(samples) >= 9
        return sum(each.value for each in samples if each.name.endswith("_total"))

    def close(self) -> None:
        self._running.close()
        self.store.close()


@pytest.fixture
def deployment(
    fresh_valkey_url: str, s3_settings: RuntimeSettings, s3_objects: S3Objects, tmp_path: Path
) -> Iterator[Deployment]:
    deployment = Deployment(fresh_valkey_url, s3_settings, Artifacts(s3_objects), tmp_path)
    yield deployment
    deployment.close()


def test_each_worker_takes_the_steps_of_its_own_version_and_all_end_at_their_first_attempt(
    deployment: Deployment,
) -> None:
    deployment.start("earlier", "1")
    deployment.start("later", "2")
    deployment.run_until(lambda: len(deployment.conductor.workers) == 2)
    ids = deployment.post("exp", *[(contract, "echo") for _ in range(15) for contract in (V1, V2)])
    ended = deployment.run_to_the_end("exp")
    assert [ended[step].state for step in ids] == ["succeeded"] * 30
    assert [ended[step].worker for step in ids] == ["earlier", "later"] * 15
    assert {(step.attempt, step.failures) for step in ended.values()} == {(1, 0)}
    assert deployment.expiries() == 0


def test_a_worker_of_this_release_also_finishes_what_was_planned_before_it(deployment: Deployment) -> None:
    deployment.start("today", "2,1")
    ids = deployment.post("exp", *[(contract, "echo") for _ in range(5) for contract in (V1, V2)])
    ended = deployment.run_to_the_end("exp")
    assert {(ended[step].state, ended[step].worker, ended[step].attempt) for step in ids} == {("succeeded", "today", 1)}
    manifests = [deployment.artifacts.manifest(step) for step in ids]
    assert [manifest.version for manifest in manifests if manifest is not None] == [1, 2] * 5


def test_steps_survive_that_the_only_worker_of_their_version_is_killed_and_comes_back(deployment: Deployment) -> None:
    earlier = deployment.start("earlier", "1")
    deployment.start("later", "2")
    first, *others = deployment.post("old", (V1, "linger"), *[(V1, "echo")] * 6)
    deployment.run_until(lambda: deployment.steps("old")[first].started_at is not None)
    earlier.send_signal(signal.SIGKILL)
    deployment.post("new", *[(V2, "echo")] * 10)
    new = deployment.run_to_the_end("new")
    assert {(step.state, step.worker, step.attempt) for step in new.values()} == {("succeeded", "later", 1)}
    assert [step.state for step in deployment.steps("old").values()].count("succeeded") == 0
    deployment.start("earlier again", "1")
    old = deployment.run_to_the_end("old")
    assert {(step.state, step.worker) for step in old.values()} == {("succeeded", "earlier again")}
    assert (old[first].attempt, old[first].failures) == (2, 1)
    assert {(old[step].attempt, old[step].failures) for step in others} == {(1, 0)}


def test_a_worker_that_leaves_finishes_its_step_and_the_rest_waits_for_the_next_of_its_version(
    deployment: Deployment,
) -> None:
    earlier = deployment.start("earlier", "1")
    deployment.start("later", "2")
    deployment.run_until(lambda: len(deployment.conductor.workers) == 2)
    ids = deployment.post("exp", *[(V1, "echo")] * 40)
    deployment.run_until(lambda: sum(step.state == "succeeded" for step in deployment.steps("exp").values()) >= 5)
    earlier.terminate()
    assert earlier.wait(DEADLINE_SECONDS) == 0
    deployment.run_until(lambda: len(deployment.conductor.workers) == 1)
    deployment.start("earlier again", "1")
    ended = deployment.run_to_the_end("exp")
    assert {step.state for step in ended.values()} == {"succeeded"}
    assert {ended[step].worker for step in ids} == {"earlier", "earlier again"}
    assert {(step.attempt, step.failures) for step in ended.values()} == {(1, 0)}


def test_a_version_that_this_release_does_not_know_is_done_by_a_worker_that_does_and_else_given_up(
    deployment: Deployment,
) -> None:
    deployment.start("later", "9")
    deployment.run_until(lambda: len(deployment.conductor.workers) == 1)
    deployment.post("known", *[(V9, "echo")] * 4)
    deployment.post("retired", (replace(V1, version=0), "echo"))
    known, retired = deployment.run_to_the_end("known"), deployment.run_to_the_end("retired")
    assert {(step.state, step.worker, step.attempt) for step in known.values()} == {("succeeded", "later", 1)}
    assert [step.problem.code for step in retired.values() if step.problem] == ["contract_retired"]


def test_a_full_list_does_not_keep_others_of_the_same_worker_waiting(
    deployment: Deployment, fresh_valkey_url: str
) -> None:
    """Filled past the conductor, which would not hand out as much."""
    steps = deployment.plan("exp", *[(V2, "echo")] * 30, *[(V1, "echo")] * 3).steps
    for step in steps:
        version = step.contract.version
        message = StepMessage(step_id=step.id, attempt=1, kind=step.kind, version=version, request=step.stored)
        deployment.dispatcher.send(message)
    deployment.start("today", "2,1")
    reports, order, deadline = connect_reports(fresh_valkey_url), list[str](), time.monotonic() + DEADLINE_SECONDS
    while len(order) < len(steps):
        assert time.monotonic() < deadline
        order += [report.step_id for report in reports.receive(0.5) if isinstance(report, StepStarted)]
    last = {step.id for step in steps[30:]}
    assert len(last & set(order[:6])) == 3, "the lists take turns"
