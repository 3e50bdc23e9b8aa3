"""Prometheus metrics of workers and the conductor, with a liveness answer on the same port."""

import threading
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, Counter, Histogram, make_wsgi_app

# Steps run from milliseconds (a found result) to hours (a long training run).
SECONDS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)


class WorkerMetrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.steps = Counter(
            "touchstone_steps_total", "Steps by kind and outcome", ["kind", "outcome"], registry=self.registry
        )
        self.seconds = Histogram(
            "touchstone_step_seconds", "Wall clock of computed steps", ["kind"], buckets=SECONDS, registry=self.registry
        )


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes are not worth a log line."""


def start_metrics_server(registry: CollectorRegistry, host: str, port: int) -> WSGIServer:
    """Answers /healthz and /metrics from a daemon thread; port 0 takes a free one (see `server_port`)."""
    metrics = make_wsgi_app(registry)

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/healthz":
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"ok\n"]
        answer: Iterable[bytes] = metrics(environ, start_response)
        return answer

    server = make_server(host, port, application, handler_class=_QuietHandler)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server
