"""Which workers live right now, and what they serve: each announces itself while it lives, the conductor counts them.

One sorted set in Redis: member = what one process says of itself, score = the moment until which it counts, by the
server's clock, so that clocks of other machines do not matter. Nothing here may not be lost: a flushed set is whole
again one heartbeat later."""

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import redis
from pydantic import ValidationError
from touchstone_contracts.messages import LiveWorker
from touchstone_contracts.problems import Transient

from touchstone_runtime.logs import get_logger
from touchstone_runtime.redis_connections import connect_redis
from touchstone_runtime.reports import redis_outages_translated

log = get_logger(__name__)

WORKERS_KEY = "touchstone:live_workers"
MISSED_HEARTBEATS = 3
"""A worker that is silent for this many heartbeats counts no more."""


class Presence(Protocol):
    def announce(self, worker: LiveWorker, seconds: float) -> None:
        """`worker` counts for the next `seconds`. Raises Transient."""

    def withdraw(self, worker: LiveWorker) -> None:
        """`worker` counts no more. Raises Transient."""

    def live(self) -> tuple[LiveWorker, ...]:
        """Those that count now, in no particular order. Raises Transient."""


class RedisPresence:
    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def announce(self, worker: LiveWorker, seconds: float) -> None:
        with redis_outages_translated():
            self._client.zadd(WORKERS_KEY, {worker.model_dump_json(): self._now() + seconds})

    def withdraw(self, worker: LiveWorker) -> None:
        with redis_outages_translated():
            self._client.zrem(WORKERS_KEY, worker.model_dump_json())

    def live(self) -> tuple[LiveWorker, ...]:
        """Unreadable members, of a release to come, are left out."""
        with redis_outages_translated():
            pipeline = self._client.pipeline(transaction=False)
            pipeline.zremrangebyscore(WORKERS_KEY, "-inf", self._now())
            pipeline.zrange(WORKERS_KEY, 0, -1)
            _, members = pipeline.execute()
        return tuple(worker for member in members if (worker := _parse(member)) is not None)

    def _now(self) -> float:
        seconds, microseconds = self._client.time()
        return float(seconds + microseconds / 1e6)


def _parse(member: bytes) -> LiveWorker | None:
    try:
        return LiveWorker.model_validate_json(member)
    except ValidationError:
        return None


def connect_presence(redis_url: str, ca_file: Path | None = None) -> RedisPresence:
    return RedisPresence(connect_redis(redis_url, ca_file))


@dataclass
class MemoryPresence:
    """For tests; passes the same suite as RedisPresence. `clock` gives seconds; `away` is a server that is gone."""

    clock: Callable[[], float]
    away: bool = False
    _until: dict[LiveWorker, float] = field(default_factory=dict)

    def announce(self, worker: LiveWorker, seconds: float) -> None:
        self._reach()
        self._until[worker] = self.clock() + seconds

    def withdraw(self, worker: LiveWorker) -> None:
        self._reach()
        self._until.pop(worker, None)

    def live(self) -> tuple[LiveWorker, ...]:
        self._reach()
        now = self.clock()
        return tuple(worker for worker, until in self._until.items() if until > now)

    def forget(self) -> None:
        """As a flushed server does."""
        self._until.clear()

    def _reach(self) -> None:
        if self.away:
            raise Transient("presence unreachable", code="redis")


class Announcer:
    """Inside its block, one worker announces itself from a thread of its own: a step may keep the main one for hours.

    Leaving the block withdraws it."""

    def __init__(self, presence: Presence, worker: LiveWorker, heartbeat_seconds: float) -> None:
        self._presence, self._interval = presence, heartbeat_seconds
        # Names may be set, and pods that share their node's network share host name and process id.
        self._worker = worker.model_copy(update={"name": f"{worker.name}#{secrets.token_hex(4)}"})
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    def _run(self) -> None:
        self._announce()
        while not self._stop.wait(self._interval):
            self._announce()

    def _announce(self) -> None:
        try:
            self._presence.announce(self._worker, MISSED_HEARTBEATS * self._interval)
        except Transient as error:
            log.warning("presence.lost", error=str(error))

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        try:
            self._presence.withdraw(self._worker)
        except Transient as error:
            log.warning("presence.lost", error=str(error))
