"""Workers that come and go under a real conductor, in virtual time: what an autoscaler's rule does to leases.

The conductor, its store, its leases and its gauges are the real ones; the broker, the reports and the presence are the
in-memory ones. A worker here is what libs/runtime makes of one, as seen from outside: it announces itself, takes the
oldest message when it is free, reports its start a moment later, beats, reports its end, and leaves when idle."""

import heapq
import itertools
import math
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Protocol

from prometheus_client import generate_latest
from support.keda import ScaledJob, Trigger
from support.live_workers import live_worker
from support.many_steps import CHANNEL, QUEUE, independent_steps
from support.memory_services import MemoryReports, empty_manifest, memory_services
from touchstone_conductor.conductor import Conductor
from touchstone_conductor.metrics import ConductorMetrics
from touchstone_contracts.messages import StepMessage, StepProgressed, StepStarted, StepSucceeded
from touchstone_runtime.presence import MISSED_HEARTBEATS, MemoryPresence
from touchstone_runtime.queue import MemoryDispatcher
from touchstone_store.plans import Survey, create_plan
from touchstone_store.steps import leased_by_queue, owned_steps, ready_by_queue

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
CYCLE_SECONDS = 1.0  # twice the conductor's poll_seconds: steps wait longer, leases are looked at more rarely
REFRESH_SECONDS = 2.0  # how old its gauges may be
HEARTBEAT_SECONDS = 5.0


@dataclass
class Worker:
    name: str
    ready: bool = False
    idle_since: float = 0.0
    message: StepMessage | None = None
    ends_at: float = 0.0
    steps: int = 0
    leaving: bool = False
    """Was told to end: takes no further message."""


@dataclass
class Outcome:
    """What happened, for tests to judge."""

    workers: list[int] = field(default_factory=list)
    """How many there were at each look of the autoscaler, and at the end."""
    missing: int = 0
    """Looks after which steps that had waited for a whole interval had no worker, although more were allowed."""
    started: int = 0
    useless: int = 0
    """Workers that left without having had a step."""
    killed_with_a_step: int = 0
    longest_idle: float = 0.0
    """Seconds without a step of any worker."""
    longest_wait_beside_steps: float = 0.0
    """Seconds that a free worker was without message while steps waited to be handed out."""
    states: Counter[str] = field(default_factory=Counter)
    attempts: Counter[int] = field(default_factory=Counter)
    failures: int = 0
    """Leases that ran out after their step had started."""
    seconds: float = 0.0


class Autoscaler(Protocol):
    @property
    def interval(self) -> float:
        """Seconds between two looks."""

    @property
    def limit(self) -> int:
        """Workers at most."""

    def look(self, simulation: "Simulation", page: str) -> None:
        """Starts and ends workers, by what the conductor's /metrics says."""


class Simulation:
    def __init__(
        self,
        folder: Path,
        arrivals: Mapping[float, int],
        durations: Callable[[Random], float],
        *,
        autoscaler: Autoscaler,
        idle_seconds: float = math.inf,
        metrics: ConductorMetrics | None = None,
        seed: int = 0,
    ) -> None:
        """`arrivals`: second to how many new steps are posted then; `durations` draws the seconds of a step."""
        self.rng, self.clock, self.outcome = Random(seed), 0.0, Outcome()
        self.workers: list[Worker] = []
        self._durations, self._idle_seconds, self._autoscaler = durations, idle_seconds, autoscaler
        folder.mkdir(exist_ok=True)
        self._services = memory_services(folder)
        self._reports, self._broker = MemoryReports(), MemoryDispatcher()
        self._presence = MemoryPresence(lambda: self.clock)
        self._metrics = metrics or ConductorMetrics()
        self._conductor = Conductor(
            self._services.store,
            self._services.artifacts,
            self._reports,
            self._broker,
            self._presence,
            now=lambda: self._now,
            metrics=self._metrics,
        )
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._plans: list[str] = []
        self._to_come = sum(arrivals.values())
        self._demand = self._demand_before = 0
        for second, count in arrivals.items():
            self.after(second, lambda count=count: self._post(count))  # type: ignore[misc]
        self._every(CYCLE_SECONDS, self._cycle)
        self._every(REFRESH_SECONDS, self._refresh)
        self._every(autoscaler.interval, self._look)

    @property
    def _now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.clock)

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.clock + seconds, next(self._order), call))

    def _every(self, seconds: float, call: Callable[[], None]) -> None:
        def again() -> None:
            call()
            self.after(seconds, again)

        self.after(seconds, again)

    def run(self, at_most_seconds: float) -> Outcome:
        """Until everything is done and every worker is gone."""
        while not self._over():
            self.clock, _, call = heapq.heappop(self._events)
            if self.clock > at_most_seconds:
                break
            call()
        self._close()
        return self.outcome

    def _over(self) -> bool:
        return not self._to_come and not self._demand and not self.workers

    # The conductor's side

    def _post(self, count: int) -> None:
        name = f"exp_{len(self._plans)}"
        with self._services.store.write() as session:
            create_plan(session, name, independent_steps(count, name), Survey(), self._now)
        self._plans.append(name)
        self._to_come -= count
        self._demand += count

    def _cycle(self) -> None:
        assert self._conductor.cycle(0)
        self._hand_over()

    def _refresh(self) -> None:
        assert self._metrics.refresh(self._services.store, self._now, self._conductor.live_workers)

    def _look(self) -> None:
        before, self._demand_before = self._demand_before, sum(self._counts())
        self._demand = self._demand_before
        self._autoscaler.look(self, generate_latest(self._metrics.registry).decode())
        self.outcome.workers.append(len(self.workers))
        self.outcome.missing += len(self.workers) < min(before, self._demand, self._autoscaler.limit)

    def _counts(self) -> tuple[int, int]:
        """Steps that wait to be handed out, and that are handed out, as SQL has them."""
        with self._services.store.read() as session:
            return ready_by_queue(session, self._now).get(QUEUE, 0), leased_by_queue(session).get(QUEUE, 0)

    # The workers' side

    def start_worker(self) -> None:
        """A pod is scheduled, its image is pulled, torch is imported."""
        worker = Worker(f"w{self.outcome.started}")
        self.outcome.started += 1
        self.workers.append(worker)
        self.after(self.rng.uniform(5, 45), lambda: self._get_ready(worker))

    def _get_ready(self, worker: Worker) -> None:
        if worker.leaving:
            return
        worker.ready = True
        self._become_idle(worker)
        self._beat(worker)
        self._hand_over()

    def _beat(self, worker: Worker) -> None:
        if worker not in self.workers:
            return
        self._presence.announce(live_worker(QUEUE, worker.name), MISSED_HEARTBEATS * HEARTBEAT_SECONDS)
        if worker.message is not None:
            message = worker.message
            beat = StepProgressed(step_id=message.step_id, attempt=message.attempt, done=0, total=None)
            self._reports.waiting.append(beat)
        self.after(HEARTBEAT_SECONDS, lambda: self._beat(worker))

    def _hand_over(self) -> None:
        """Whoever has waited longest gets the oldest message, as BRPOP does it."""
        free = sorted(
            (each for each in self.workers if each.ready and each.message is None and not each.leaving),
            key=lambda each: each.idle_since,
        )
        for worker in free[: self._broker.waiting(CHANNEL)]:
            self._take(worker, self._broker.take())

    def _take(self, worker: Worker, message: StepMessage) -> None:
        self._end_of_idleness(worker)
        worker.message = message
        # Until then the object store is asked whether the result is there.
        self.after(self.rng.uniform(0.02, 0.3), lambda: self._report_start(worker, message))
        duration = self._durations(Random(message.step_id))
        worker.ends_at = self.clock + 0.3 + duration
        self.after(0.3 + duration, lambda: self._finish(worker, message))

    def _report_start(self, worker: Worker, message: StepMessage) -> None:
        if worker in self.workers:
            started = StepStarted(step_id=message.step_id, attempt=message.attempt, worker=worker.name)
            self._reports.waiting.append(started)

    def _finish(self, worker: Worker, message: StepMessage) -> None:
        if worker not in self.workers:
            return
        self._services.artifacts.write_manifest(empty_manifest(message.step_id, message.kind))
        self._reports.waiting.append(StepSucceeded(step_id=message.step_id, attempt=message.attempt))
        worker.message, worker.steps = None, worker.steps + 1
        self._become_idle(worker)
        if worker.leaving:
            self._leave(worker)
        self._hand_over()

    def _become_idle(self, worker: Worker) -> None:
        worker.idle_since = since = self.clock
        if self._idle_seconds < math.inf:
            self.after(self._idle_seconds, lambda: self._leave_if_idle(worker, since))
        if self._counts()[0]:
            self.after(0, lambda: self._wait_beside_steps(worker, since))

    def _wait_beside_steps(self, worker: Worker, since: float) -> None:
        """Steps were ready when the worker became free; how long until it has one?"""
        waits = worker in self.workers and worker.message is None and worker.idle_since == since
        if waits and self._counts()[0]:
            waited = self.clock - since
            self.outcome.longest_wait_beside_steps = max(self.outcome.longest_wait_beside_steps, waited)
            self.after(CYCLE_SECONDS / 2, lambda: self._wait_beside_steps(worker, since))

    def _leave_if_idle(self, worker: Worker, since: float) -> None:
        if worker in self.workers and worker.message is None and worker.idle_since == since:
            self._leave(worker)

    def end_worker(self, worker: Worker, grace_seconds: float) -> None:
        """SIGTERM from outside: the step that runs may end within the grace, then comes SIGKILL."""
        worker.leaving = True
        if worker.message is None:
            self._leave(worker)
        elif worker.ends_at > self.clock + grace_seconds:
            self.after(grace_seconds, lambda: self._kill(worker))

    def _kill(self, worker: Worker) -> None:
        self.outcome.killed_with_a_step += 1
        self.workers.remove(worker)

    def _leave(self, worker: Worker) -> None:
        self._end_of_idleness(worker)
        self._presence.withdraw(live_worker(QUEUE, worker.name))
        self.workers.remove(worker)
        self.outcome.useless += worker.steps == 0

    def _end_of_idleness(self, worker: Worker) -> None:
        if worker.ready:
            self.outcome.longest_idle = max(self.outcome.longest_idle, self.clock - worker.idle_since)

    def _close(self) -> None:
        self.outcome.seconds = self.clock
        self.outcome.workers.append(len(self.workers))
        with self._services.store.read() as session:
            for plan in self._plans:
                for owned in owned_steps(session, plan):
                    self.outcome.states[owned.step.state] += 1
                    self.outcome.attempts[owned.step.attempt] += 1
                    self.outcome.failures += owned.step.failures
        self._services.store.close()


@dataclass
class Keda:
    """Creates Jobs; ends none."""

    job: ScaledJob

    @property
    def interval(self) -> float:
        return self.job.polling_seconds

    @property
    def limit(self) -> int:
        return self.job.max_replicas

    def look(self, simulation: Simulation, page: str) -> None:
        running, pending = len(simulation.workers), sum(not worker.ready for worker in simulation.workers)
        for _ in range(self.job.jobs_to_create(page, running=running, pending=pending)):
            simulation.start_worker()


@dataclass
class ScaledDeployment:
    """A Deployment under a HorizontalPodAutoscaler with its defaults, on the same gauge: as many pods as steps wait and
    run, less only once that was so for five minutes; nobody tells which pod is idle."""

    triggers: tuple[Trigger, ...]
    limit: int
    interval: float = 15.0
    stabilisation_seconds: float = 300.0
    grace_seconds: float = 30.0
    _recent: deque[tuple[float, int]] = field(default_factory=deque)

    def look(self, simulation: Simulation, page: str) -> None:
        steps = sum(trigger.value(page) / trigger.target for trigger in self.triggers)
        self._recent.append((simulation.clock, min(self.limit, math.ceil(steps))))
        while self._recent[0][0] < simulation.clock - self.stabilisation_seconds:
            self._recent.popleft()
        staying = [worker for worker in simulation.workers if not worker.leaving]
        wanted = max(count for _, count in self._recent)
        for _ in range(wanted - len(staying)):
            simulation.start_worker()
        for worker in simulation.rng.sample(staying, max(0, len(staying) - wanted)):
            simulation.end_worker(worker, self.grace_seconds)
