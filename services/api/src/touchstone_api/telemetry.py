"""What the api tells Prometheus: its requests, and experiments and active steps as SQL has them at the scrape."""

import time
from collections import Counter as Tallies
from collections.abc import Iterable

from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from touchstone_contracts.problems import Transient
from touchstone_runtime.metrics import FewValues, new_registry
from touchstone_store.database import Store
from touchstone_store.experiments import active_steps_by_state, phases_by_count

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
"""A client may invent others: those are counted as `other`."""


class Telemetry:
    def __init__(self, store: Store) -> None:
        self.registry = new_registry()
        self.requests = Counter(
            "touchstone_http_requests_total",
            "Requests by route and status",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "touchstone_http_request_seconds",
            "Seconds until the answer began",
            ["method", "route"],
            registry=self.registry,
        )
        self._problems = Counter(
            "touchstone_http_problems_total", "Problem documents answered, by code", ["code"], registry=self.registry
        )
        self._problems.labels("bug")
        self._code = FewValues()
        self.registry.register(_StoreCollector(store))

    def count_problem(self, code: str) -> None:
        self._problems.labels(self._code(code)).inc()


class _StoreCollector(Collector):
    def __init__(self, store: Store) -> None:
        self._store = store

    def describe(self) -> Iterable[Metric]:
        """Empty, so that registering asks no database."""
        return ()

    def collect(self) -> Iterable[Metric]:
        try:
            with self._store.read() as session:
                phases, states = phases_by_count(session), active_steps_by_state(session)
        except Transient:
            return
        yield _family("touchstone_experiments", "Experiments by phase", "phase", phases)
        yield _family("touchstone_steps", "Steps of active experiments and upstreams", "state", states)


def _family(name: str, documentation: str, label: str, counts: dict[str, int] | Tallies[str]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, documentation, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family


class CountRequests:
    """Pure ASGI middleware. Routes are counted by their template: ids must not become label values."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self.app = app
        self.telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in METHODS else "other"
        began, status = time.perf_counter(), 500  # what a bug is answered with, further out

        async def noting_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self.telemetry.seconds.labels(method, _template(scope)).observe(time.perf_counter() - began)
            await send(message)

        try:
            await self.app(scope, receive, noting_send)
        finally:
            self.telemetry.requests.labels(method, _template(scope), status).inc()


def _template(scope: Scope) -> str:
    return getattr(scope.get("route"), "path", "unmatched")
