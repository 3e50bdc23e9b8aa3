"""Traces through OpenTelemetry's SDK. Imported by `tracing.connect_traces` alone, and only when traces are on."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from touchstone_runtime.tracing import Fact, Role, Span

CLOSE_SECONDS = 3.0
"""A collector that is away must not hold up the end of a process."""
KINDS: dict[Role, SpanKind] = {
    "internal": SpanKind.INTERNAL,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}
_W3C = TraceContextTextMapPropagator()


class _OpenSpan:
    def __init__(self, span: trace.Span) -> None:
        self._span = span

    @property
    def traceparent(self) -> str | None:
        carrier: dict[str, str] = {}
        _W3C.inject(carrier, trace.set_span_in_context(self._span))
        return carrier.get("traceparent")

    def tell(self, **facts: Fact) -> None:
        self._span.set_attributes({f"touchstone.{name}": fact for name, fact in facts.items()})

    def fail(self, reason: str) -> None:
        self._span.set_status(Status(StatusCode.ERROR, reason))


class OpenTelemetryTraces:
    def __init__(self, provider: TracerProvider) -> None:
        self.provider = provider
        self._tracer = provider.get_tracer("touchstone")

    @contextmanager
    def span(self, name: str, *, parent: str | None = None, role: Role = "internal", **facts: Fact) -> Iterator[Span]:
        # A malformed parent is ignored by the propagator: the span then begins a trace of its own.
        context = None if parent is None else _W3C.extract({"traceparent": parent})
        with self._tracer.start_as_current_span(name, context, KINDS[role]) as span:
            opened = _OpenSpan(span)
            opened.tell(**facts)
            yield opened

    def close(self) -> None:
        # The SDK's own shutdown waits half a minute for a collector that does not answer.
        closing = threading.Thread(target=self.provider.shutdown, name="traces", daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)


def export_traces(service: str) -> OpenTelemetryTraces:
    """Where to, with which headers and how many: OpenTelemetry's standard variables (OTEL_*)."""
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {SERVICE_NAME: service}
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return OpenTelemetryTraces(provider)
