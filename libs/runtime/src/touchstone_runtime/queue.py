"""Celery as transport: no canvas, no result backend, JSON only, at-least-once.

Redis is a doorbell. Leases in SQL are the truth, so a lost or doubled message costs time, never a result. There is one
list per contract and version (`Contract.channel`), and a worker consumes only those that it serves."""

import logging
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import redis
from celery import Celery
from celery.worker.request import Request
from kombu.exceptions import OperationalError
from touchstone_contracts.messages import StepMessage
from touchstone_contracts.problems import Transient
from touchstone_contracts.steps import channel_of

from touchstone_runtime.crash_points import crash_point
from touchstone_runtime.redis_connections import (
    ANSWER_SECONDS,
    CONNECT_SECONDS,
    IDLE_CHECK_SECONDS,
    KEEPALIVE,
    sentinel_options,
    tls_of,
)
from touchstone_runtime.redis_urls import parse_redis_url

TASK_PREFIX = "touchstone."

VISIBILITY_TIMEOUT = timedelta(days=14)
"""A message is not delivered twice while it is worked on, however long that takes. What a dead worker had is handed out
again by the conductor; its message comes back after this time, and whoever gets it finds that nobody wants it."""


class StepRequest(Request):  # type: ignore[misc]  # Celery has no types
    """A message that a worker has in hand. One whose acknowledgement the broker never got would fill the worker's
    only slot for ever, so it connects anew, as after a broken pipe; the message comes again and finds its result."""

    acknowledged: bool

    def acknowledge(self) -> None:
        """At once, not in the loop's next round as Celery does: a solo worker is its loop. Raises BrokenPipeError."""
        if not self.acknowledged:
            self.message.ack_log_error(logging.getLogger(__name__), self._connection_errors)
            self.acknowledged = True
            if not self.message.acknowledged:
                raise BrokenPipeError("the broker took no acknowledgement")


def celery_app(redis_url: str, ca_file: Path | None = None) -> Celery:
    """`ca_file`: see RuntimeSettings. Raises UnusableRedisUrl."""
    url = parse_redis_url(redis_url)
    of_sentinels = {"master_name": url.master, "sentinel_kwargs": sentinel_options(url, ca_file)} if url.master else {}
    app = Celery("touchstone", broker=url.for_celery, set_as_current=False)
    app.conf.update(
        # Without it kombu speaks TLS to whoever answers.
        broker_use_ssl=tls_of(url, ca_file) or None,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
        # For ever: whoever manages the process could only start one that waits the same way.
        broker_connection_max_retries=None,
        broker_connection_timeout=CONNECT_SECONDS,
        broker_transport_options={
            "visibility_timeout": VISIBILITY_TIMEOUT.total_seconds(),
            # The sweep that returns a dead worker's messages runs each second, not each hundred.
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
            "socket_connect_timeout": CONNECT_SECONDS,
            "socket_timeout": ANSWER_SECONDS,
            "socket_keepalive": True,
            "socket_keepalive_options": KEEPALIVE,
            "health_check_interval": IDLE_CHECK_SECONDS,
            # Celery's priorities would make four lists of each.
            "priority_steps": [0],
            **of_sentinels,
        },
    )
    return app


class Dispatcher(Protocol):
    def send(self, message: StepMessage) -> None:
        """Raises Transient when the broker cannot be reached."""

    def waiting(self, channel: str) -> int:
        """Messages in `channel` that no worker has taken. Raises Transient."""


class CeleryDispatcher:
    def __init__(self, app: Celery) -> None:
        self._app = app

    def send(self, message: StepMessage) -> None:
        try:
            with crash_point("message.sent"):
                self._app.send_task(
                    TASK_PREFIX + message.kind,
                    kwargs={"message": message.model_dump(mode="json")},
                    queue=_channel(message),
                    retry=False,
                )
        except OperationalError as error:
            raise Transient(f"broker unreachable: {error}", code="redis") from error

    def waiting(self, channel: str) -> int:
        try:
            with self._app.connection_for_write() as connection:
                # A channel is what Celery calls a queue, and on Redis a list of the same name.
                return int(connection.default_channel.client.llen(channel))
        except (OperationalError, redis.RedisError) as error:
            raise Transient(f"broker unreachable: {error}", code="redis") from error


class MemoryDispatcher:
    """Remembers what was sent; for tests. `lose` drops what waits, as a flushed broker does."""

    def __init__(self) -> None:
        self.sent: list[StepMessage] = []
        self._waiting: list[StepMessage] = []

    def send(self, message: StepMessage) -> None:
        self.sent.append(message)
        self._waiting.append(message)

    def waiting(self, channel: str) -> int:
        return sum(_channel(message) == channel for message in self._waiting)

    def waiting_anywhere(self) -> int:
        return len(self._waiting)

    def take(self) -> StepMessage:
        """The oldest waiting message, as a worker that serves everything takes it."""
        return self._waiting.pop(0)

    def lose(self) -> None:
        self._waiting.clear()


def _channel(message: StepMessage) -> str:
    return channel_of(message.kind, message.version)
