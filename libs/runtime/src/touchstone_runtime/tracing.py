"""Traces: spans and how their context travels, W3C traceparent in messages and rows.

Off unless asked for: what records and sends spans is then not even imported."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal, Protocol

from touchstone_runtime.settings import RuntimeSettings

Role = Literal["internal", "producer", "consumer"]
"""A producer's span hands work to a queue, a consumer's does it."""
Fact = str | int | float | bool


class Span(Protocol):
    @property
    def traceparent(self) -> str | None:
        """What a child elsewhere names as its parent; None when traces are off."""

    def tell(self, **facts: Fact) -> None:
        """Attributes, named `touchstone.<fact>`."""

    def fail(self, reason: str) -> None:
        """Marks the span as failed."""


class Traces(Protocol):
    provider: Any
    """OpenTelemetry's TracerProvider, for libraries that trace by themselves; None when traces are off."""

    def span(
        self, name: str, *, parent: str | None = None, role: Role = "internal", **facts: Fact
    ) -> AbstractContextManager[Span]:
        """The current span inside the block. Without `parent` (a traceparent) it belongs to the one that is current."""

    def close(self) -> None:
        """Sends what waits, for a few seconds at most."""


class _NoSpan:
    traceparent = None

    def tell(self, **facts: Fact) -> None:
        pass

    def fail(self, reason: str) -> None:
        pass


_NO_SPAN = _NoSpan()


class _NoTraces:
    provider = None

    @contextmanager
    def span(self, name: str, *, parent: str | None = None, role: Role = "internal", **facts: Fact) -> Iterator[Span]:
        yield _NO_SPAN

    def close(self) -> None:
        pass


NO_TRACES: Traces = _NoTraces()


def connect_traces(service: str, settings: RuntimeSettings) -> Traces:
    """Exports over OTLP/HTTP when `settings.traces`. A collector that is away costs spans, never a step."""
    if not settings.traces:
        return NO_TRACES
    from touchstone_runtime.opentelemetry_traces import export_traces

    return export_traces(f"touchstone-{service}")
