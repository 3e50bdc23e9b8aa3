"""The conductor itself, with its database and its rules, in a world where everything that can go wrong does, at random.

A schedule is what happens to one plan from the moment when it is made until it ends. Many are under way at once, as
they are for a real conductor; only workers, servers and the clock are played."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from sqlalchemy.orm import Session
from support.live_workers import live_worker
from support.many_steps import QUEUE, independent_steps
from support.memory_services import Broker, MemoryReports, empty_manifest
from support.oracle import Oracle
from touchstone_conductor.conductor import Conductor
from touchstone_contracts.messages import (
    StepFailed,
    StepMessage,
    StepProgressed,
    StepReport,
    StepStarted,
    StepSucceeded,
)
from touchstone_contracts.problems import Problem, Transient
from touchstone_planning.dag import PlannedStep
from touchstone_planning.transitions import Limits
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.objects import MemoryObjects
from touchstone_runtime.presence import MemoryPresence
from touchstone_store.database import Store, open_store
from touchstone_store.experiments import plan_states
from touchstone_store.migrate import migrate
from touchstone_store.plans import Survey, cancel_plan, create_plan, retry_plan

LIMITS = Limits(max_failures=3)
MOST_STEPS = 4
WORKERS = 60
ROUNDS = 16
"""In which things go wrong; then they go right."""
HEALTHY_ROUNDS = 80
CODES = ("object_store", "redis", "vector_index", "out_of_memory", "disk_failure", "missing_object", "bug", "cancelled")
ASKS: tuple[Callable[[Session, str, datetime], object], ...] = (cancel_plan, retry_plan)


class Objects(MemoryObjects):
    """Can be taken away."""

    away = False

    def get(self, key: str) -> bytes:
        if self.away:
            raise Transient("object store unreachable", code="object_store")
        return super().get(key)


class LosingBroker(Broker):
    """Also loses, doubles and reorders."""

    def waiting(self, channel: str) -> int:
        if self.away:
            raise Transient("broker unreachable", code="redis")
        return super().waiting(channel)

    def mix(self, dice: Random) -> None:
        kept = [message for message in self._waiting if dice.random() > 0.15]
        self._waiting = kept + [message for message in kept if dice.random() < 0.15]
        dice.shuffle(self._waiting)


class Reports(MemoryReports):
    """Can be taken away."""

    away = False

    def receive(self, timeout: float) -> list[StepReport]:
        if self.away:
            raise Transient("redis unreachable", code="redis")
        return super().receive(timeout)

    def mix(self, dice: Random) -> None:
        kept = [report for report in self.waiting if dice.random() > 0.1]
        self.waiting = kept + [report for report in kept if dice.random() < 0.15]
        dice.shuffle(self.waiting)


@dataclass
class Schedules:
    """So many plans in one new database in `folder`."""

    folder: Path
    dice: Random
    plans: int
    objects: Objects = field(default_factory=Objects)
    broker: LosingBroker = field(default_factory=LosingBroker)
    reports: Reports = field(default_factory=Reports)
    time: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    mishaps: int = 0

    def __post_init__(self) -> None:
        database = self.folder / "schedules.db"
        self.store: Store = open_store(f"sqlite:///{database}")
        migrate(self.store)
        self.oracle = Oracle(database)
        self.oracle.install()
        self.artifacts = Artifacts(self.objects)
        self.presence = MemoryPresence(lambda: self.time.timestamp())
        self.conductors = [self._conductor(), self._conductor()]
        self.names: list[str] = []

    def run(self) -> None:
        """Fails where something happened that must not, or a plan does not end."""
        for _ in range(ROUNDS):
            self._make_plans()
            self._one_round()
        while len(self.names) < self.plans:
            self._make_plans()
        self._recover()
        self.oracle.require_sound()
        self.store.close()

    def _conductor(self) -> Conductor:
        return Conductor(
            store=self.store,
            artifacts=self.artifacts,
            reports=self.reports,
            dispatcher=self.broker,
            presence=self.presence,
            limits=LIMITS,
            now=lambda: self.time,
        )

    def _make_plans(self) -> None:
        missing = self.plans - len(self.names)
        for _ in range(min(missing, -(-self.plans // ROUNDS))):
            name = f"exp_{len(self.names)}"
            # Some need steps that others need too.
            steps = self._steps(f"shared {self.dice.randrange(3)}" if self.dice.random() < 0.2 else name)
            with self.store.write() as session:
                create_plan(session, name, steps, Survey(), self.time)
            self.names.append(name)

    def _steps(self, name: str) -> tuple[PlannedStep, ...]:
        alone = independent_steps(MOST_STEPS if "shared" in name else self.dice.randrange(1, MOST_STEPS + 1), name)
        order = Random(name)
        return tuple(
            replace(step, inputs=tuple(needed.id for needed in order.sample(alone[:at], min(at, order.randrange(3)))))
            for at, step in enumerate(alone)
        )

    def _one_round(self) -> None:
        self.time += timedelta(seconds=self.dice.choice([0.1, 1, 5, 40]))
        # A conductor that starts anew may find that the clock was set, by hours, either way.
        if self.dice.random() < 0.1:
            self.time += timedelta(hours=self.dice.choice([-2, 2]))
            self.conductors = [self._conductor(), self._conductor()]
        self._announce()
        self.objects.away, self.broker.away, self.reports.away = (self.dice.random() < 0.1 for _ in range(3))
        for conductor in self.dice.sample(self.conductors, self.dice.choice([1, 2])):
            conductor.cycle(0)
        self._ask_for_something()
        self._lose_results()
        self.broker.mix(self.dice)
        while self.broker.waiting_anywhere() and self.dice.random() < 0.95:
            self._work(self.broker.take())
        self.reports.mix(self.dice)

    def _announce(self) -> None:
        for number in range(WORKERS):
            self.presence.announce(live_worker(QUEUE, f"worker {number}"), 3600)

    def _ask_for_something(self) -> None:
        for name in self.dice.sample(self.names, min(3, len(self.names))):
            with self.store.write() as session:
                self.dice.choice(ASKS)(session, name, self.time)

    def _lose_results(self) -> None:
        for stored in list(self.objects.listed("steps/")):
            if self.dice.random() < 0.01:
                self.objects.remove(stored.key)
                self.mishaps += 1

    def _work(self, message: StepMessage) -> None:
        """A worker dies before, during or after its work, fails, or finishes; it may be an attempt of long ago."""
        fate = self.dice.random()
        names = {"step_id": message.step_id, "attempt": message.attempt}
        self.mishaps += fate < 0.5
        if fate < 0.1:
            return
        self.reports.waiting.append(StepStarted(**names, worker="w"))
        if fate < 0.3:
            self.reports.waiting.append(StepProgressed(**names, done=self.dice.randrange(9), total=9))
        if fate < 0.2:
            return
        if fate < 0.4:
            problem = Problem(title="Broken", code=self.dice.choice(CODES))
            retryable = problem.code != "bug" or self.dice.random() < 0.5
            self.reports.waiting.append(StepFailed(**names, problem=problem, retryable=retryable))
            return
        self._compute(message)
        if fate > 0.5:
            self.reports.waiting.append(StepSucceeded(**names))

    def _compute(self, message: StepMessage) -> None:
        self.artifacts.write_manifest(empty_manifest(message.step_id, message.kind))

    def _recover(self) -> None:
        """Everything works from now on, and whoever had cancelled or seen a failure asks for the rest."""
        self.objects.away = self.broker.away = self.reports.away = False
        for _ in range(HEALTHY_ROUNDS):
            self._retry_what_ended()
            self.time += timedelta(seconds=20)
            self._announce()
            for conductor in self.conductors:
                conductor.cycle(0)
            while self.broker.waiting_anywhere():
                message = self.broker.take()
                self._compute(message)
                self.reports.waiting.append(StepSucceeded(step_id=message.step_id, attempt=message.attempt))
            if self._all_succeeded():
                return
        raise AssertionError(f"plans that never ended: {self._phases()}")

    def _retry_what_ended(self) -> None:
        for name, phase in self._phases().items():
            if phase in ("failed", "cancelled"):
                with self.store.write() as session:
                    retry_plan(session, name, self.time)

    def _phases(self) -> dict[str, str]:
        """Of plans that have not succeeded."""
        with self.store.read() as session:
            found = plan_states(session, self.names)
        return {name: state.phase for name, state in found.items() if state.phase != "succeeded"}

    def _all_succeeded(self) -> bool:
        return not self._phases()
