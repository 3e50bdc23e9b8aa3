"""`python -m touchstone_conductor`: runs until SIGTERM; may be killed at any point."""

import signal
import threading
import time
from datetime import timedelta

from touchstone_contracts.problems import Transient
from touchstone_planning.transitions import Limits
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.logs import configure_logs, get_logger
from touchstone_runtime.metrics import start_metrics_server
from touchstone_runtime.objects import connect_objects
from touchstone_runtime.presence import connect_presence
from touchstone_runtime.queue import CeleryDispatcher, celery_app
from touchstone_runtime.reports import connect_reports
from touchstone_runtime.tracing import Traces, connect_traces
from touchstone_store.database import Store, open_store
from touchstone_store.migrate import is_current
from touchstone_store.webhook_keys import WebhookKeys

from touchstone_conductor.conductor import Conductor, SteadyClock
from touchstone_conductor.liveness import LastCycle
from touchstone_conductor.metrics import ConductorMetrics
from touchstone_conductor.settings import ConductorSettings
from touchstone_conductor.webhooks import WebhookSender

log = get_logger(__name__)

METRICS_SECONDS = 2.0
WEBHOOK_SECONDS = 1.0
"""Between looks for experiments that ended."""


def build_conductor(settings: ConductorSettings, store: Store, metrics: ConductorMetrics, traces: Traces) -> Conductor:
    redis = settings.redis_url.get_secret_value(), settings.ca_file
    return Conductor(
        store=store,
        artifacts=Artifacts(connect_objects(settings)),
        reports=connect_reports(*redis),
        dispatcher=CeleryDispatcher(celery_app(*redis)),
        presence=connect_presence(*redis),
        limits=Limits(
            lease=timedelta(seconds=settings.lease_seconds),
            max_failures=settings.max_failures,
            retry=timedelta(seconds=settings.retry_seconds),
        ),
        leases_per_worker=settings.leases_per_worker,
        now=SteadyClock(),
        metrics=metrics,
        traces=traces,
    )


def wait_for_schema(store: Store, stop: threading.Event, last_cycle: LastCycle, poll_seconds: float) -> None:
    """The api (or the migrate command) creates the tables."""
    while not stop.is_set():
        try:
            if is_current(store):
                return
            log.info("conductor.waits_for_schema")
        except Transient as error:
            log.warning("conductor.hindered", code=error.code, error=str(error))
        last_cycle.note()
        stop.wait(poll_seconds)


def run(conductor: Conductor, stop: threading.Event, last_cycle: LastCycle, poll_seconds: float) -> None:
    metrics = conductor.metrics
    refreshed = -METRICS_SECONDS
    while not stop.is_set():
        answered = conductor.cycle(poll_seconds)
        if answered and time.monotonic() - refreshed >= METRICS_SECONDS:
            refreshed = time.monotonic()
            answered = metrics.refresh(conductor.store, conductor.now(), conductor.live_workers)
        metrics.cycles.labels("complete" if answered else "hindered").inc()
        last_cycle.note()
        if not answered:
            stop.wait(poll_seconds)


def main() -> None:
    settings = ConductorSettings()
    configure_logs(settings.log_level, settings.log_format, settings.secrets)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    store, metrics = open_store(settings.database_url.get_secret_value(), ca_file=settings.ca_file), ConductorMetrics()
    last_cycle = LastCycle(settings.cycle_seconds)
    if settings.metrics_port:
        start_metrics_server(metrics.registry, settings.metrics_host, settings.metrics_port, last_cycle.is_recent)
    wait_for_schema(store, stop, last_cycle, settings.poll_seconds)
    log.info("conductor.started", lease_seconds=settings.lease_seconds, leases_per_worker=settings.leases_per_worker)
    traces = connect_traces("conductor", settings)
    sender = WebhookSender(store, SteadyClock(), WebhookKeys(settings.webhook_key), settings.webhook_private_addresses)
    # A daemon: what it is sending when the process ends is sent again.
    threading.Thread(target=sender.run, args=(stop, WEBHOOK_SECONDS), daemon=True, name="webhooks").start()
    run(build_conductor(settings, store, metrics, traces), stop, last_cycle, settings.poll_seconds)
    log.info("conductor.stopped")
    traces.close()
    store.close()


if __name__ == "__main__":
    main()
