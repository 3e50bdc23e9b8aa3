"""What the conductor tells Prometheus: enough to scale workers on."""

from collections.abc import Mapping
from datetime import datetime

from prometheus_client import Counter, Gauge
from touchstone_contracts.problems import Transient
from touchstone_contracts.steps import QUEUES
from touchstone_runtime.metrics import new_registry, phase_histogram
from touchstone_store.database import Store
from touchstone_store.steps import leased_by_queue, ready_by_queue, ready_since_by_queue

EXPIRIES = ("silent_worker", "lost_message", "lost_report")


class ConductorMetrics:
    def __init__(self) -> None:
        self.registry = new_registry()
        self.steps = Gauge(
            "touchstone_queue_steps",
            "Steps that wait to be handed out (queued) and that are handed out (leased)",
            ["queue", "state"],
            registry=self.registry,
        )
        self.workers = Gauge(
            "touchstone_live_workers",
            "Workers that announced themselves within their last heartbeats",
            ["queue"],
            registry=self.registry,
        )
        self.age = Gauge(
            "touchstone_queue_age_seconds",
            "How long the step that has waited longest could have been handed out; 0 when none waits",
            ["queue"],
            registry=self.registry,
        )
        self._phases = phase_histogram(self.registry)
        self._expiries = Counter(
            "touchstone_lease_expiries_total",
            "Leases that ran out. silent_worker: it had started and gave no sign of life; lost_message: no worker "
            "started; lost_report: the result was there",
            ["queue", "reason"],
            registry=self.registry,
        )
        self._queues = set(QUEUES)
        for queue in QUEUES:
            for reason in EXPIRIES:
                self._expiries.labels(queue, reason)
        self.cycles = Counter(
            "touchstone_conductor_cycles_total",
            "Cycles by whether every server answered",
            ["outcome"],
            registry=self.registry,
        )
        for outcome in ("complete", "hindered"):
            self.cycles.labels(outcome)

    def started(self, kind: str, waited: float) -> None:
        """A worker reports that it began, `waited` seconds after the step was handed out."""
        self._phases.labels(kind, "queue").observe(max(0.0, waited))

    def expired(self, queue: str, reason: str) -> None:
        self._expiries.labels(queue, reason).inc()

    def refresh(self, store: Store, now: datetime, live_workers: Mapping[str, int]) -> bool:
        """Whether the database answered; else the gauges keep their values."""
        try:
            with store.read() as session:
                queued, leased = ready_by_queue(session, now), leased_by_queue(session)
                since = ready_since_by_queue(session, now)
        except Transient:
            return False
        # Steps that another release planned may be of a queue that this one does not know.
        self._queues |= {*queued, *leased}
        for queue in self._queues:
            self.workers.labels(queue).set(live_workers.get(queue, 0))
            self.steps.labels(queue, "queued").set(queued.get(queue, 0))
            self.steps.labels(queue, "leased").set(leased.get(queue, 0))
            self.age.labels(queue).set((now - since.get(queue, now)).total_seconds())
        return True
