"""What the conductor tells Prometheus: enough to scale workers on."""

from collections.abc import Mapping
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge
from touchstone_contracts.problems import Transient
from touchstone_contracts.steps import QUEUES

from touchstone_api.store.database import Store
from touchstone_api.store.steps import leased_by_queue, ready_by_queue


class ConductorMetrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
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
        self.cycles = Counter(
            "touchstone_conductor_cycles_total",
            "Cycles by whether every server answered",
            ["outcome"],
            registry=self.registry,
        )

    def refresh(self, store: Store, now: datetime, live_workers: Mapping[str, int]) -> bool:
        """Whether the database answered; else the gauges keep their values."""
        try:
            with store.read() as session:
                queued, leased = ready_by_queue(session, now), leased_by_queue(session)
        except Transient:
            return False
        for queue in QUEUES:
            self.workers.labels(queue).set(live_workers.get(queue, 0))
            self.steps.labels(queue, "queued").set(queued.get(queue, 0))
            self.steps.labels(queue, "leased").set(leased.get(queue, 0))
        return True
