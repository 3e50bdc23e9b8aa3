"""0 -> 40 -> 0 workers over a thousand steps, by the manifests' ScaledJob and the conductor's own gauge; and what would
happen otherwise. In virtual time; docs/decisions/0027 draws the conclusions."""

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from random import Random

import pytest
from prometheus_client import generate_latest
from support.keda import ScaledJob, Trigger, scaled_job
from support.manifests import check_out, of_kind, render_components
from support.many_steps import QUEUE
from support.scaling_simulation import CYCLE_SECONDS, Keda, ScaledDeployment, Simulation
from touchstone_conductor.metrics import ConductorMetrics
from touchstone_store.database import Store

STEPS = 1000
ARRIVALS = {3.0: 5, 101.0: 600, **{1150.0 + 7.3 * number: 79 for number in range(5)}}
"""A few steps, a burst, a lull in which workers leave, and small experiments one after the other."""
A_DAY = 86_400


def seconds_to_minutes(rng: Random) -> float:
    """Log-uniform between 2 s and 3 min."""
    return math.exp(rng.uniform(math.log(2), math.log(180)))


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> ScaledJob:
    """As the autoscaling component deploys it."""
    tree = check_out(tmp_path_factory.mktemp("kustomize"))
    manifests = render_components(tree, ("servers", "gpu", "autoscaling", "release", "registry"))
    return scaled_job(of_kind(manifests, "ScaledJob")[QUEUE])


def test_a_thousand_steps_take_forty_workers_and_leave_none_and_no_lease_is_killed(
    tmp_path: Path, job: ScaledJob
) -> None:
    assert (job.max_replicas, len(job.triggers)) == (40, 2)
    assert sum(ARRIVALS.values()) == STEPS
    simulation = Simulation(tmp_path, ARRIVALS, seconds_to_minutes, autoscaler=Keda(job), idle_seconds=job.idle_seconds)
    outcome = simulation.run(A_DAY)
    assert outcome.states == {"succeeded": STEPS}
    assert outcome.attempts == {1: STEPS}, "no step was handed out twice"
    assert (outcome.killed_with_a_step, outcome.failures) == (0, 0)
    assert outcome.workers[0] == 5
    assert (max(outcome.workers), outcome.workers[-1]) == (40, 0)
    first, last = outcome.workers.index(40), len(outcome.workers) - outcome.workers[::-1].index(40)
    assert min(outcome.workers[first:last]) < 30, "in the lull workers left, and after it others came"
    assert outcome.missing == 0, "a step waited for longer than a look although there might have been a worker for it"
    assert outcome.longest_idle <= job.idle_seconds + job.polling_seconds
    assert outcome.longest_wait_beside_steps <= 2 * CYCLE_SECONDS
    assert outcome.useless <= outcome.started / 10


class ForgetfulMetrics(ConductorMetrics):
    """Tells how many steps wait, and not how many are handed out."""

    def refresh(self, store: Store, now: datetime, live_workers: Mapping[str, int]) -> bool:
        answered = super().refresh(store, now, live_workers)
        for queue in live_workers:
            self.steps.labels(queue, "leased").set(0)
        return answered


def test_a_gauge_that_forgot_leased_steps_would_leave_steps_without_workers(tmp_path: Path, job: ScaledJob) -> None:
    arrivals, quick = {1.0: 10, 100.0: 5}, replace(job, idle_seconds=60)
    right, wrong = (
        Simulation(
            tmp_path / name,
            arrivals,
            lambda rng: 240.0,
            autoscaler=Keda(quick),
            idle_seconds=quick.idle_seconds,
            metrics=metrics,
        ).run(A_DAY)
        for name, metrics in (("right", ConductorMetrics()), ("wrong", ForgetfulMetrics()))
    )
    assert (right.missing, max(right.workers)) == (0, 15)
    assert wrong.missing > 5
    assert max(wrong.workers) < 15
    assert wrong.seconds > right.seconds + 120


def test_the_accurate_strategy_would_count_leased_steps_twice_and_start_workers_for_nothing(
    tmp_path: Path, job: ScaledJob
) -> None:
    few = Simulation(
        tmp_path, {1.0: 10}, lambda rng: 300.0, autoscaler=Keda(replace(job, strategy="accurate")), idle_seconds=60
    ).run(A_DAY)
    assert few.states == {"succeeded": 10}
    assert few.useless > 10


def test_a_deployment_that_is_scaled_down_would_kill_leases(tmp_path: Path, job: ScaledJob) -> None:
    """Once fewer steps run than pods, pods are ended, and whose step is nearly done does not matter."""
    simulation = Simulation(
        tmp_path,
        {1.0: 40, 2.0: 10},
        lambda rng: rng.uniform(60, 900),
        autoscaler=ScaledDeployment(job.triggers, job.max_replicas),
    )
    outcome = simulation.run(1500)
    assert max(outcome.workers) == 40
    assert outcome.killed_with_a_step > 5
    assert outcome.failures > 5


def page_of(metrics: ConductorMetrics) -> str:
    return generate_latest(metrics.registry).decode()


QUEUED = Trigger('touchstone_queue_steps{queue="trainer",state="queued"}', 1.0)
LEASED = Trigger('touchstone_queue_steps{queue="trainer",state="leased"}', 1.0)


@pytest.mark.parametrize(
    ("queued", "leased", "running", "created"),
    [
        (0, 0, 0, 0),
        (5, 0, 0, 5),
        (3, 2, 5, 0),
        (0, 2, 0, 2),
        (998, 2, 0, 40),
        (998, 2, 40, 0),
        (998, 2, 37, 3),
        (0, 1, 9, 0),
    ],
)
def test_keda_creates_as_many_jobs_as_steps_wait_and_run_less_those_there(
    queued: int, leased: int, running: int, created: int
) -> None:
    metrics = ConductorMetrics()
    metrics.steps.labels("trainer", "queued").set(queued)
    metrics.steps.labels("trainer", "leased").set(leased)
    job = ScaledJob((QUEUED, LEASED), 10, 40, "default", "sum", 300)
    assert job.jobs_to_create(page_of(metrics), running=running, pending=0) == created


def test_a_gauge_that_is_not_there_is_an_error_and_not_zero() -> None:
    with pytest.raises(LookupError, match="trainer"):
        QUEUED.value(page_of(ConductorMetrics()))
