"""Gateway, conductor and a worker of every queue in this process, each with traces of its own into one exporter.

Handlers compute nothing: what is looked at is how the work travels."""

import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fastapi.testclient import TestClient
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import BaseModel
from support.memory_services import api_client, memory_services
from touchstone_api.bootstrap import Services
from touchstone_conductor.conductor import Conductor
from touchstone_contracts.messages import StepReport
from touchstone_contracts.problems import Transient
from touchstone_contracts.steps import CATALOGUE, QUEUES
from touchstone_contracts.values import Lenient
from touchstone_runtime.metrics import WorkerMetrics
from touchstone_runtime.opentelemetry_traces import OpenTelemetryTraces
from touchstone_runtime.presence import MemoryPresence
from touchstone_runtime.queue import MemoryDispatcher
from touchstone_runtime.serving import Handlers, Progress, StepRunner
from touchstone_runtime.tracing import NO_TRACES, Traces


class Nothing(Lenient):
    """The result of a handler that does nothing."""


@dataclass
class MemoryReports:
    waiting: list[StepReport] = field(default_factory=list)

    def send(self, report: StepReport) -> None:
        self.waiting.append(report)

    def receive(self, timeout: float) -> list[StepReport]:
        received, self.waiting = self.waiting, []
        return received

    def is_unwanted(self, step: str, attempt: int) -> bool:
        return False

    def mark_cancelled(self, step: str) -> None:
        pass

    def note_attempt(self, step: str, attempt: int) -> None:
        pass


class TracedSystem:
    """`on` False: as it is by default, without traces. Kinds in `stumbling` fail at their first attempt."""

    def __init__(self, folder: Path, *, on: bool = True, stumbling: frozenset[str] = frozenset()) -> None:
        self.exporter = InMemorySpanExporter()
        self._on, self._stumbling, self._attempted = on, stumbling, set[str]()
        self.services: Services = replace(memory_services(folder), traces=self.traces("api"))
        self.broker, self.reports, self.time = MemoryDispatcher(), MemoryReports(), datetime.now(UTC)
        self.conductor = Conductor(
            store=self.services.store,
            artifacts=self.services.artifacts,
            reports=self.reports,
            dispatcher=self.broker,
            presence=MemoryPresence(time.monotonic),
            now=lambda: self.time,
            traces=self.traces("conductor"),
        )
        self.workers = {queue: self._worker(queue) for queue in QUEUES}

    def traces(self, service: str) -> Traces:
        if not self._on:
            return NO_TRACES
        provider = TracerProvider(resource=Resource({"service.name": service}))
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        return OpenTelemetryTraces(provider)

    def _worker(self, queue: str) -> StepRunner[None]:
        handlers = Handlers[None](queue)
        for contract in CATALOGUE.values():
            if contract.queue == queue:
                handlers.serve(contract)(self._handler(contract.name))
        artifacts, metrics = self.services.artifacts, WorkerMetrics()
        return StepRunner(
            handlers, None, artifacts, self.reports, metrics, f"{queue}@test", 60.0, traces=self.traces(queue)
        )

    def _handler(self, kind: str):  # type: ignore[no-untyped-def]  # one for every contract: no type says that
        def handle(request: BaseModel, tools: None, progress: Progress) -> Nothing:
            if kind in self._stumbling and kind not in self._attempted:
                self._attempted.add(kind)
                raise Transient("a passing failure on purpose", code="on_purpose")
            return Nothing()

        return handle

    def client(self) -> TestClient:
        return api_client(self.services)

    def work_all(self) -> None:
        """Hands out and computes until nothing is left."""
        while True:
            sent = len(self.broker.sent)
            self.time += timedelta(seconds=5)  # longer than the pause before a second attempt
            assert self.conductor.cycle(0)
            if len(self.broker.sent) == sent:
                return
            while self.broker.waiting_anywhere():
                message = self.broker.take()
                self.workers[CATALOGUE[message.kind].queue].run(message)

    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())
