"""Prometheus metrics of workers and the conductor, with a liveness answer on the same port."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, Protocol
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from touchstone_runtime.caches import CacheUse
from touchstone_runtime.phases import PHASES

# Steps run from milliseconds (a found result) to hours (a long training run).
SECONDS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)
OUTCOMES = ("computed", "found", "failed")
Unit = Literal["images", "updates"]


class FewValues:
    """Keeps the values of a label few: the first `most` pass, those that come later are `other`."""

    def __init__(self, most: int = 100) -> None:
        self._most = most
        self._seen: set[str] = set()

    def __call__(self, value: str) -> str:
        if value not in self._seen and len(self._seen) >= self._most:
            return "other"
        self._seen.add(value)
        return value


def new_registry() -> CollectorRegistry:
    """With the facts of the process itself: CPU seconds, memory, open files, start time."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


def phase_histogram(registry: CollectorRegistry) -> Histogram:
    """One metric that two processes fill: the conductor the phase `queue`, workers the others."""
    return Histogram(
        "touchstone_step_phase_seconds",
        "Wall clock of steps by phase. queue: from hand-out until the conductor hears that a worker started; load: "
        "reading inputs from the object store and loading models; store: encoding and writing results and manifest; "
        "compute: the rest",
        ["kind", "phase"],
        buckets=SECONDS,
        registry=registry,
    )


class WorkerMetrics:
    def __init__(self) -> None:
        self.registry = new_registry()
        self._code = FewValues()
        self.steps = self._counter("touchstone_steps", "Steps by kind and outcome", "kind", "outcome")
        self.seconds = Histogram(
            "touchstone_step_seconds", "Wall clock of computed steps", ["kind"], buckets=SECONDS, registry=self.registry
        )
        self.phases = phase_histogram(self.registry)
        self.failures = self._counter(
            "touchstone_step_failures", "Attempts that failed, by the code of their problem", "kind", "code"
        )
        self.images = self._counter(
            "touchstone_images", "Images that were embedded, generated or perturbed, as they are made", "kind"
        )
        self.updates = self._counter("touchstone_updates", "Updates of an optimiser, as they are made", "kind")
        self.busy = RunningSeconds(
            "touchstone_busy_seconds", "Seconds that steps ran, failed attempts and the running step too"
        )
        self.gpu = RunningSeconds(
            "touchstone_gpu_seconds",
            "Seconds that steps held the worker's GPU, failed attempts and the running step too",
        )
        self.registry.register(self.busy)
        self.registry.register(self.gpu)

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(name, documentation, labels, registry=self.registry)

    def expect(self, units: Mapping[str, Unit | None]) -> None:
        """Begins the series of each kind at 0, so that the first count is seen as a rise. `units`: by kind."""
        for kind, unit in units.items():
            for outcome in OUTCOMES:
                self.steps.labels(kind, outcome)
            for phase in PHASES:
                self.phases.labels(kind, phase)
            self.seconds.labels(kind)
            self.failures.labels(kind, "bug")
            self.busy.expect(kind)
            self.gpu.expect(kind)
            if unit is not None:
                self.work(kind, unit)

    def work(self, kind: str, unit: Unit) -> Callable[[float], None]:
        """Adds to the images or updates of a kind."""
        return (self.images if unit == "images" else self.updates).labels(kind).inc

    @contextmanager
    def running(self, kind: str, *, holds_gpu: bool) -> Iterator[None]:
        with self.busy.running(kind):
            if holds_gpu:
                with self.gpu.running(kind):
                    yield
            else:
                yield

    def computed(self, kind: str, seconds: float, by_phase: Mapping[str, float]) -> None:
        self.seconds.labels(kind).observe(seconds)
        for phase, spent in by_phase.items():
            self.phases.labels(kind, phase).observe(spent)

    def failed(self, kind: str, code: str) -> None:
        self.steps.labels(kind, "failed").inc()
        self.failures.labels(kind, self._code(code)).inc()

    def watch_caches(self, caches: Mapping[str, CacheUse]) -> None:
        self.registry.register(_CacheCollector(caches))

    def watch_gpu(self, cuda: "Cuda") -> None:
        self.registry.register(_GpuCollector(cuda))


class Cuda(Protocol):
    """What is read of `torch.cuda`, which workers pass: this package knows no learning framework."""

    def is_initialized(self) -> bool: ...

    def get_device_name(self) -> str:
        """Of the device that the process computes on."""

    def mem_get_info(self) -> tuple[int, int]:
        """Free and total bytes of the device, whoever uses it."""

    def memory_allocated(self) -> int:
        """Bytes of this process's tensors."""

    def memory_reserved(self) -> int:
        """Bytes that this process's allocator holds."""


class RunningSeconds(Collector):
    """A counter of seconds by kind that also rises while a step runs: a step of hours would otherwise show as idleness
    and then as a leap."""

    def __init__(self, name: str, documentation: str) -> None:
        self._name, self._documentation = name, documentation
        self._lock = threading.Lock()
        self._ended: dict[str, float] = {}
        self._running: tuple[str, float] | None = None

    def expect(self, kind: str) -> None:
        with self._lock:
            self._ended.setdefault(kind, 0.0)

    @contextmanager
    def running(self, kind: str) -> Iterator[None]:
        """One step at a time."""
        self.expect(kind)
        with self._lock:
            self._running = kind, time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self._ended, self._running = self._now(), None

    def _now(self) -> dict[str, float]:
        if self._running is None:
            return self._ended
        kind, began = self._running
        return self._ended | {kind: self._ended[kind] + time.perf_counter() - began}

    def collect(self) -> Iterable[Metric]:
        with self._lock:
            seconds = self._now()
        family = CounterMetricFamily(self._name, self._documentation, labels=["kind"])
        for kind, value in seconds.items():
            family.add_metric([kind], value)
        yield family


class _CacheCollector(Collector):
    def __init__(self, caches: Mapping[str, CacheUse]) -> None:
        self._caches = caches

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(
            "touchstone_cache_requests", "What was asked of a cache, by outcome", labels=["cache", "outcome"]
        )
        for name, use in self._caches.items():
            family.add_metric([name, "hit"], use.hits)
            family.add_metric([name, "miss"], use.misses)
        yield family


class _GpuCollector(Collector):
    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "touchstone_gpu_memory_bytes",
            "Memory of the worker's GPU: total and used by anyone, reserved by this process and allocated to its "
            "tensors. 0 without a GPU, and before its first use",
            labels=["state"],
        )
        for state, size in self._sizes().items():
            family.add_metric([state], size)
        yield family

    def _sizes(self) -> dict[str, int]:
        # Asking a GPU that is not in use would take memory for a context of its own.
        if not self._cuda.is_initialized():
            return dict.fromkeys(("total", "used", "reserved", "allocated"), 0)
        try:
            free, total = self._cuda.mem_get_info()
            reserved, allocated = self._cuda.memory_reserved(), self._cuda.memory_allocated()
        except RuntimeError:
            return {}  # a device that is lost fails steps; the scrape goes on
        return {"total": total, "used": total - free, "reserved": reserved, "allocated": allocated}


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes are not worth a log line."""


def start_metrics_server(
    registry: CollectorRegistry, host: str, port: int, is_alive: Callable[[], bool] = lambda: True
) -> WSGIServer:
    """Answers /healthz and /metrics from a daemon thread; port 0 takes a free one (see `server_port`).

    /healthz answers 503 when `is_alive` says so; without it, that the process runs is enough."""
    metrics = make_wsgi_app(registry)

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/healthz":
            alive = is_alive()
            start_response("200 OK" if alive else "503 Service Unavailable", [("Content-Type", "text/plain")])
            return [b"ok\n" if alive else b"no cycle has ended for too long\n"]
        answer: Iterable[bytes] = metrics(environ, start_response)
        return answer

    server = make_server(host, port, application, handler_class=_QuietHandler)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server
