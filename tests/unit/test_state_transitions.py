"""The state machine of steps: single rules by example, the whole by random interleavings."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from touchstone_contracts.messages import (
    HostMemory,
    StepFailed,
    StepManifest,
    StepProgressed,
    StepReport,
    StepStarted,
    StepSucceeded,
)
from touchstone_contracts.problems import Problem
from touchstone_contracts.views import Phase, StepCounts
from touchstone_planning import transitions
from touchstone_planning.state import Step, phase_of, ready_steps
from touchstone_planning.transitions import Limits

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIMITS = Limits()
A = "a" * 64
BROKEN = Problem(title="Broken", code="disk_failure")


def manifest(step: str) -> StepManifest:
    return StepManifest(
        step_id=step, kind="any", version=1, result={}, blobs=(), seconds=2.0, cpu_seconds=1.0, worker="w"
    )


def failed(step: Step, *, retryable: bool = True, code: str = BROKEN.code, attempt: int | None = None) -> StepFailed:
    problem = BROKEN.model_copy(update={"code": code})
    return StepFailed(step_id=step.id, attempt=attempt or step.attempt, problem=problem, retryable=retryable)


def started(step: Step, at: datetime = NOW, worker: str = "w") -> Step:
    report = StepStarted(step_id=step.id, attempt=step.attempt, worker=worker)
    return transitions.apply_report(step, report, at, LIMITS)


@pytest.fixture
def leased() -> Step:
    return transitions.lease(Step(id=A), NOW, LIMITS)


def test_only_a_waiting_step_can_be_leased(leased: Step) -> None:
    assert (leased.state, leased.attempt, leased.lease_expires_at) == ("leased", 1, NOW + LIMITS.lease)
    with pytest.raises(ValueError, match="only a waiting step"):
        transitions.lease(leased, NOW, LIMITS)


def test_progress_renews_the_lease_and_never_runs_backwards(leased: Step) -> None:
    later = NOW + timedelta(seconds=20)
    far = transitions.apply_report(leased, StepProgressed(step_id=A, attempt=1, done=7, total=9), later, LIMITS)
    assert (far.done, far.total, far.lease_expires_at, far.started_at) == (7, 9, later + LIMITS.lease, later)
    doubled = transitions.apply_report(far, StepProgressed(step_id=A, attempt=1, done=3), later, LIMITS)
    assert (doubled.done, doubled.total) == (7, 9)


def test_retryable_failures_pause_longer_each_time_and_end_after_three(leased: Step) -> None:
    step, pauses = leased, []
    for _ in range(2):
        step = transitions.apply_report(started(step), failed(step), NOW, LIMITS)
        assert (step.state, step.worker) == ("waiting", None)
        assert step.not_before is not None
        pauses.append(step.not_before - NOW)
        step = transitions.lease(step, NOW, LIMITS)
    step = transitions.apply_report(step, failed(step), NOW, LIMITS)
    assert pauses == [LIMITS.retry, 2 * LIMITS.retry]
    assert (step.state, step.failures, step.problem) == ("failed", 3, BROKEN)


def test_a_step_that_dies_again_and_again_but_gets_further_each_time_never_fails(leased: Step) -> None:
    step, now = leased, NOW
    for done in range(1, 20):
        step = transitions.apply_report(started(step, now), progressed(step, done), now, LIMITS)
        now += LIMITS.lease + timedelta(seconds=1)
        step = transitions.expire(step, now, LIMITS, still_queued=False)
        assert (step.state, step.failures) == ("waiting", 1)
        now += timedelta(minutes=1)
        step = transitions.lease(step, now, LIMITS)
    assert step.done == 19


def test_a_step_that_dies_at_the_same_point_fails_after_three(leased: Step) -> None:
    step, now = leased, NOW
    for _ in range(LIMITS.max_failures):
        for done in range(1, 6):
            step = transitions.apply_report(started(step, now), progressed(step, done), now, LIMITS)
        now += LIMITS.lease + timedelta(seconds=1)
        step = transitions.expire(step, now, LIMITS, still_queued=False)
        step = transitions.lease(step, now, LIMITS) if step.state == "waiting" else step
    assert (step.state, step.failures) == ("failed", 3)


def progressed(step: Step, done: int) -> StepProgressed:
    return StepProgressed(step_id=step.id, attempt=step.attempt, done=done, total=100)


@pytest.mark.parametrize("code", ["object_store", "redis", "database", "vector_index"])
def test_a_server_that_is_away_is_waited_for_as_long_as_it_takes(leased: Step, code: str) -> None:
    step, pauses = leased, []
    for _ in range(200):
        step = transitions.apply_report(started(step), failed(step, code=code), NOW, LIMITS)
        assert (step.state, step.failures, step.lease_expires_at) == ("waiting", 0, None)
        assert step.problem is not None
        assert step.problem.code == code
        assert step.not_before is not None
        pauses.append((step.not_before - NOW).total_seconds())
        step = transitions.lease(step, NOW, LIMITS)
    assert pauses[:6] == [2, 4, 8, 16, 32, 32]
    assert max(pauses) == 32
    done = transitions.succeed(step, NOW, manifest(A))
    assert (done.state, done.problem) == ("succeeded", None)


def test_a_server_that_refuses_for_good_is_not_waited_for(leased: Step) -> None:
    step = transitions.apply_report(started(leased), failed(leased, code="database", retryable=False), NOW, LIMITS)
    assert step.state == "failed"


def test_a_step_whose_input_was_lost_waits_at_no_cost_for_a_while(leased: Step) -> None:
    step = leased
    for _ in range(LIMITS.free_attempts):
        step = transitions.await_inputs(started(step), failed(step, code="corrupt_object"), NOW, LIMITS)
        assert (step.state, step.failures, step.not_before) == ("waiting", 0, None)
        step = transitions.lease(step, NOW, LIMITS)
    stale = transitions.await_inputs(step, failed(step, code="corrupt_object", attempt=1), NOW, LIMITS)
    assert stale == step
    for _ in range(LIMITS.max_failures):
        step = transitions.await_inputs(started(step), failed(step, code="corrupt_object"), NOW, LIMITS)
        step = transitions.lease(step, NOW, LIMITS) if step.state == "waiting" else step
    assert (step.state, step.failures) == ("failed", LIMITS.max_failures)


def test_a_failure_that_repeating_cannot_help_is_final(leased: Step) -> None:
    step = transitions.apply_report(started(leased), failed(leased, retryable=False), NOW, LIMITS)
    assert (step.state, step.failures, step.worker, step.started_at) == ("failed", 1, "w", NOW)


def test_a_late_failure_of_an_older_attempt_does_not_count(leased: Step) -> None:
    second = transitions.lease(transitions.release(leased), NOW, LIMITS)
    assert transitions.apply_report(second, failed(second, attempt=1), NOW, LIMITS) is second


@pytest.mark.parametrize("state", ["waiting", "leased", "failed"])
def test_a_success_counts_in_every_state(leased: Step, state: str) -> None:
    before = {
        "waiting": transitions.release(leased),
        "leased": leased,
        "failed": transitions.apply_report(leased, failed(leased, retryable=False), NOW, LIMITS),
    }[state]
    after = transitions.succeed(before, NOW, manifest(A))
    assert before.state == state
    assert (after.state, after.problem, after.seconds, after.cpu_seconds) == ("succeeded", None, 2.0, 1.0)
    assert transitions.succeed(after, NOW + timedelta(1), manifest(A)) is after


def test_a_cancelled_attempt_is_no_failure(leased: Step) -> None:
    step = transitions.apply_report(started(leased), failed(leased, retryable=False, code="cancelled"), NOW, LIMITS)
    assert (step.state, step.failures, step.problem) == ("waiting", 0, None)


def test_a_step_that_nobody_can_do_ends_at_once_unless_somebody_has_started_it(leased: Step) -> None:
    paused = transitions.fail(leased, BROKEN, NOW, LIMITS, retryable=True)
    for step in (Step(id=A), paused, leased):
        ended = transitions.give_up(step, BROKEN, NOW, LIMITS)
        assert (ended.state, ended.problem, ended.attempt) == ("failed", BROKEN, step.attempt)
        assert ended.lease_expires_at is None
    for step in (started(leased), transitions.succeed(leased, NOW, manifest(A)), ended):
        assert transitions.give_up(step, BROKEN, NOW, LIMITS) == step


def test_a_silent_worker_costs_an_attempt_but_a_message_that_waits_costs_nothing(leased: Step) -> None:
    late = NOW + LIMITS.lease
    silent = transitions.expire(started(leased), late, LIMITS, still_queued=True)
    assert (silent.state, silent.failures) == ("waiting", 1)
    assert silent.problem is not None
    assert silent.problem.code == "lease_expired"
    lost = transitions.expire(leased, late, LIMITS, still_queued=False)
    assert (lost.state, lost.failures) == ("waiting", 0)
    queued = transitions.expire(leased, late, LIMITS, still_queued=True)
    assert (queued.state, queued.lease_expires_at) == ("leased", late + LIMITS.lease)
    early = NOW + LIMITS.lease / 2
    assert transitions.expire(leased, early, LIMITS, still_queued=False) is leased


def run_out_on(step: Step, *workers: str) -> Step:
    """One attempt after another, each ended by memory that ran out."""
    for worker in workers:
        step = transitions.lease(step, NOW, LIMITS) if step.state == "waiting" else step
        problem = Problem(
            title="Out of memory", code="out_of_memory", detail=f"{worker} asked for 21,474,836,480 bytes"
        )
        report = StepFailed(step_id=A, attempt=step.attempt, problem=problem, retryable=True)
        step = transitions.apply_report(started(step, worker=worker), report, NOW, LIMITS)
    return step


def test_memory_that_ran_out_three_times_on_two_workers_is_more_than_workers_have() -> None:
    twice = run_out_on(Step(id=A), "big", "small")
    assert (twice.state, twice.problem and twice.problem.code) == ("waiting", "out_of_memory")
    step = run_out_on(twice, "big")
    assert step.problem is not None
    assert (step.state, step.failures, step.problem.code, step.problem.status) == (
        "failed",
        3,
        "needs_more_memory",
        422,
    )
    for told in (
        "needs more memory than workers have",
        "3 attempts on big and small",
        "asked for 21,474,836,480 bytes",
    ):
        assert told in step.problem.detail


def test_memory_that_ran_out_on_one_worker_alone_says_nothing_of_others() -> None:
    step = run_out_on(Step(id=A), "small", "small", "small")
    assert (step.state, step.problem and step.problem.code) == ("failed", "out_of_memory")


def test_what_happens_in_between_does_not_forget_whose_memory_ran_out() -> None:
    step = run_out_on(Step(id=A), "big")
    step = started(transitions.lease(step, NOW, LIMITS))
    step = transitions.apply_report(step, failed(step, code="redis"), NOW, LIMITS)
    step = run_out_on(step, "small")
    step = started(transitions.lease(step, NOW, LIMITS))
    assert step.failures == 2
    silent = transitions.expire(step, NOW + LIMITS.lease, LIMITS, still_queued=False)
    assert silent.problem is not None
    assert silent.problem.out_of_memory_on == ("big", "small")


def test_who_gets_further_than_all_before_has_memory_enough_for_that() -> None:
    step = run_out_on(Step(id=A), "big", "small")
    step = started(transitions.lease(step, NOW, LIMITS))
    step = transitions.apply_report(step, progressed(step, 1), NOW, LIMITS)
    step = run_out_on(step, "big")
    assert (step.state, step.failures) == ("waiting", 1)
    assert step.problem is not None
    assert step.problem.out_of_memory_on == ("big",)


@pytest.mark.parametrize(("free", "suspected"), [(2**30, True), (8 * 2**30, False)])
def test_of_a_worker_that_went_silent_it_is_told_if_memory_was_short(leased: Step, free: int, suspected: bool) -> None:
    memory = HostMemory(held=15 * 2**30, free=free)
    step = transitions.expire(started(leased), NOW + LIMITS.lease, LIMITS, still_queued=False, memory=memory)
    assert step.problem is not None
    assert step.problem.code == "lease_expired"
    assert ("It held 15.0 GiB when it was last heard and 1.0 GiB were free" in step.problem.detail) == suspected


PHASES: list[tuple[dict[str, int], dict[str, bool], Phase]] = [
    ({"waiting": 1}, {}, "queued"),
    ({"waiting": 1, "succeeded": 1, "reused": 1}, {}, "queued"),
    ({"waiting": 1, "succeeded": 1}, {}, "running"),
    ({"waiting": 1, "succeeded": 2, "reused": 1}, {}, "running"),
    ({"waiting": 1, "leased": 1}, {}, "running"),
    ({"succeeded": 2, "reused": 1}, {}, "succeeded"),
    ({}, {}, "succeeded"),
    ({"succeeded": 1, "failed": 1, "leased": 1}, {}, "failed"),
    ({"leased": 1}, {"cancelled": True}, "cancelled"),
    ({"failed": 1}, {"cancelled": True}, "cancelled"),
    ({"waiting": 1, "succeeded": 1}, {"blocked": True}, "failed"),
    ({"leased": 1}, {"blocked": True}, "failed"),
    ({"succeeded": 1}, {"blocked": True}, "succeeded"),
    ({"waiting": 1}, {"blocked": True, "cancelled": True}, "cancelled"),
]


@pytest.mark.parametrize(("counts", "facts", "phase"), PHASES)
def test_the_phase_follows_from_the_counts(counts: dict[str, int], facts: dict[str, bool], phase: Phase) -> None:
    assert phase_of(StepCounts(**counts), **facts) == phase


@dataclass
class World:
    """A conductor's state and everything that may happen around it: a broker and workers that lose, double and delay.

    Workers fail at most twice per step; everything else may go wrong any number of times."""

    random: Random
    inputs: dict[str, tuple[str, ...]]
    now: datetime = NOW
    steps: dict[str, Step] = field(default_factory=dict)
    messages: list[tuple[str, int]] = field(default_factory=list)
    reports: list[StepReport] = field(default_factory=list)
    manifests: set[str] = field(default_factory=set)
    genuine_failures: dict[str, int] = field(default_factory=dict)
    computed: int = 0

    def __post_init__(self) -> None:
        self.steps = {name: Step(id=name) for name in self.inputs}

    def change(self, after: Step) -> None:
        before = self.steps[after.id]
        assert before.state != "succeeded" or after.state == "succeeded", "a success was taken back"
        assert (after.state == "leased") == (after.lease_expires_at is not None)
        if after.state == "leased" and before.state == "leased":
            assert after.attempt == before.attempt, "two live leases on one step"
        if after.state == "succeeded":
            assert after.id in self.manifests
        self.steps[after.id] = after

    def hand_out(self) -> None:
        for name in ready_steps(self.steps, self.inputs, self.now):
            assert all(self.steps[needed].state == "succeeded" for needed in self.inputs[name])
            self.change(transitions.lease(self.steps[name], self.now, LIMITS))
            self.messages.append((name, self.steps[name].attempt))

    def receive(self) -> None:
        """One waiting report, not necessarily the oldest; it may come again."""
        if not self.reports:
            return
        report = self.random.choice(self.reports)
        if self.random.random() < 0.8:
            self.reports.remove(report)
        self.apply(report)

    def apply(self, report: StepReport) -> None:
        step = self.steps[report.step_id]
        if isinstance(report, StepSucceeded):
            self.change(transitions.succeed(step, self.now, manifest(step.id)))
        else:
            self.change(transitions.apply_report(step, report, self.now, LIMITS))

    def lose_something(self) -> None:
        for things in (self.messages, self.reports):
            if things and self.random.random() < 0.5:
                things.pop(self.random.randrange(len(things)))

    def work(self, *, healthy: bool) -> None:
        """A worker takes a message: it may die before, during or after the work, fail, or finish."""
        if not self.messages:
            return
        name, attempt = self.messages.pop(self.random.randrange(len(self.messages)))
        if not healthy and self.random.random() < 0.2:
            self.messages.append((name, attempt))  # delivered twice
        self.reports.append(StepStarted(step_id=name, attempt=attempt, worker="w"))
        if not healthy and self.steps[name].failures < 2 and self.random.random() < 0.5:
            self.fail(name, attempt)
            return
        self.computed += 1
        self.manifests.add(name)
        self.reports.append(StepSucceeded(step_id=name, attempt=attempt))

    def fail(self, name: str, attempt: int) -> None:
        if self.random.random() < 0.5:
            return  # killed: nobody reports
        report = StepFailed(step_id=name, attempt=attempt, problem=BROKEN, retryable=True)
        self.reports.append(report)

    def expire(self) -> None:
        for step in list(self.steps.values()):
            if step.state != "leased" or step.lease_expires_at is None or step.lease_expires_at > self.now:
                continue
            if step.id in self.manifests:
                self.change(transitions.succeed(step, self.now, manifest(step.id)))
            else:
                queued = (step.id, step.attempt) in self.messages
                self.change(transitions.expire(step, self.now, LIMITS, still_queued=queued))

    def pass_time(self) -> None:
        self.now += timedelta(seconds=self.random.choice([1, 5, 40]))

    def misbehave(self) -> None:
        self.random.choice(
            [self.hand_out, self.receive, self.receive, self.lose_something, self.expire, self.pass_time]
            + [lambda: self.work(healthy=False)] * 2
        )()

    def recover(self) -> None:
        """Healthy from now on: nothing is lost, workers work, leases expire."""
        self.now += timedelta(seconds=60)
        self.expire()
        self.hand_out()
        while self.messages:
            self.work(healthy=True)
        while self.reports:
            self.apply(self.reports.pop(0))


def dag(size: int, random: Random) -> dict[str, tuple[str, ...]]:
    names = [f"{number:064x}" for number in range(size)]
    return {name: tuple(random.sample(names[:at], min(at, random.randrange(3)))) for at, name in enumerate(names)}


@settings(max_examples=150)
@given(seed=st.integers(0, 2**32), size=st.integers(1, 7), mishaps=st.integers(0, 150))
def test_after_any_mishaps_healthy_workers_bring_every_step_to_success(seed: int, size: int, mishaps: int) -> None:
    random = Random(seed)
    world = World(random, dag(size, random))
    for _ in range(mishaps):
        world.misbehave()
    # Leases that went silent may have used up a step's attempts: then a person's retry is part of the recovery.
    for step in world.steps.values():
        world.change(transitions.retry(step))
    for _ in range(4 * size + 4):
        world.recover()
    assert {step.state for step in world.steps.values()} == {"succeeded"}
    assert world.computed >= size


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), size=st.integers(1, 6), mishaps=st.integers(0, 100))
def test_lost_messages_and_reports_alone_never_fail_a_step(seed: int, size: int, mishaps: int) -> None:
    random = Random(seed)
    world = World(random, dag(size, random))
    for _ in range(mishaps):
        random.choice([world.hand_out, world.lose_something, world.expire, world.pass_time])()
    assert {step.failures for step in world.steps.values()} == {0}
    for _ in range(4 * size + 4):
        world.recover()
    assert {step.state for step in world.steps.values()} == {"succeeded"}
