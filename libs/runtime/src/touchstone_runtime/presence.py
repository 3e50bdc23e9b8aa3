"""Which workers serve a queue right now: each announces itself while it lives, the conductor counts them.

A sorted set in Redis per queue: member = one process, score = the moment until which it counts, by the server's clock,
so that clocks of other machines do not matter. Nothing here may not be lost: a flushed set is whole again one heartbeat
later."""

import secrets
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from touchstone_contracts.problems import Transient

from touchstone_runtime.logs import get_logger
from touchstone_runtime.reports import redis_outages_translated

log = get_logger(__name__)

MISSED_HEARTBEATS = 3
"""A worker that is silent for this many heartbeats counts no more."""
SOCKET_SECONDS = 3


class Presence(Protocol):
    def announce(self, queue: str, worker: str, seconds: float) -> None:
        """`worker` counts for the next `seconds`. Raises Transient."""

    def withdraw(self, queue: str, worker: str) -> None:
        """`worker` counts no more. Raises Transient."""

    def count(self, queues: Collection[str]) -> Mapping[str, int]:
        """Live workers of each of `queues`. Raises Transient."""


class RedisPresence:
    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def announce(self, queue: str, worker: str, seconds: float) -> None:
        with redis_outages_translated():
            self._client.zadd(_key(queue), {worker: self._now() + seconds})

    def withdraw(self, queue: str, worker: str) -> None:
        with redis_outages_translated():
            self._client.zrem(_key(queue), worker)

    def count(self, queues: Collection[str]) -> dict[str, int]:
        with redis_outages_translated():
            now = self._now()
            pipeline = self._client.pipeline(transaction=False)
            for queue in queues:
                pipeline.zremrangebyscore(_key(queue), "-inf", now)
                pipeline.zcard(_key(queue))
            answers = pipeline.execute()
        return dict(zip(queues, answers[1::2], strict=True))

    def _now(self) -> float:
        seconds, microseconds = self._client.time()
        return float(seconds + microseconds / 1e6)


def _key(queue: str) -> str:
    return f"touchstone:workers:{queue}"


def connect_presence(redis_url: str) -> RedisPresence:
    client = redis.Redis.from_url(
        redis_url,
        health_check_interval=30,
        socket_connect_timeout=SOCKET_SECONDS,
        socket_timeout=SOCKET_SECONDS,
        # One, for a connection that the server closed meanwhile; the next heartbeat is the retry of an outage.
        retry=Retry(NoBackoff(), 1),
    )
    return RedisPresence(client)


@dataclass
class MemoryPresence:
    """For tests; passes the same suite as RedisPresence. `clock` gives seconds; `away` is a server that is gone."""

    clock: Callable[[], float]
    away: bool = False
    _until: dict[tuple[str, str], float] = field(default_factory=dict)

    def announce(self, queue: str, worker: str, seconds: float) -> None:
        self._reach()
        self._until[queue, worker] = self.clock() + seconds

    def withdraw(self, queue: str, worker: str) -> None:
        self._reach()
        self._until.pop((queue, worker), None)

    def count(self, queues: Collection[str]) -> dict[str, int]:
        self._reach()
        now = self.clock()
        live = [queue for (queue, _), until in self._until.items() if until > now]
        return {queue: live.count(queue) for queue in queues}

    def forget(self) -> None:
        """As a flushed server does."""
        self._until.clear()

    def _reach(self) -> None:
        if self.away:
            raise Transient("presence unreachable", code="redis")


class Announcer:
    """Inside its block, one worker announces itself from a thread of its own: a step may keep the main one for hours.

    Leaving the block withdraws it."""

    def __init__(self, presence: Presence, queue: str, worker: str, heartbeat_seconds: float) -> None:
        self._presence, self._queue, self._interval = presence, queue, heartbeat_seconds
        # Names may be set, and pods that share their node's network share host name and process id.
        self._worker = f"{worker}#{secrets.token_hex(4)}"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    def _run(self) -> None:
        self._announce()
        while not self._stop.wait(self._interval):
            self._announce()

    def _announce(self) -> None:
        try:
            self._presence.announce(self._queue, self._worker, MISSED_HEARTBEATS * self._interval)
        except Transient as error:
            log.warning("presence.lost", error=str(error))

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        try:
            self._presence.withdraw(self._queue, self._worker)
        except Transient as error:
            log.warning("presence.lost", error=str(error))
