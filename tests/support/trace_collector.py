"""A small OTLP/HTTP collector on loopback: remembers the spans that were sent, or refuses to answer at all."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from gzip import decompress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

LOOPBACK = "127.0.0.1"


@dataclass
class Collector:
    url: str
    changed: threading.Condition = field(default_factory=threading.Condition)
    received: list[tuple[str, Span]] = field(default_factory=list)
    """(service, span), in order of arrival."""

    def take(self, request: ExportTraceServiceRequest) -> None:
        with self.changed:
            for resource in request.resource_spans:
                names = {each.key: each.value.string_value for each in resource.resource.attributes}
                for scope in resource.scope_spans:
                    self.received += [(names["service.name"], span) for span in scope.spans]
            self.changed.notify_all()

    def wait_for(self, name: str, timeout: float) -> tuple[str, Span]:
        """The first span of that name. Raises AssertionError."""
        with self.changed:
            assert self.changed.wait_for(lambda: self._named(name), timeout), f"no span {name!r} arrived"
            return self._named(name)[0]

    def _named(self, name: str) -> list[tuple[str, Span]]:
        return [(service, span) for service, span in self.received if span.name == name]


@contextmanager
def trace_collector() -> Iterator[Collector]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = decompress(body)
            collector.take(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    collector = Collector(f"http://{LOOPBACK}:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def silent_collector() -> Iterator[str]:
    """The URL of a server that takes connections and never answers: the worst kind of dead."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen(64)
        yield f"http://{LOOPBACK}:{listener.getsockname()[1]}"
