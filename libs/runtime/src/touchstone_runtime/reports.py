"""Reports from workers to the conductor, and cancellation marks back: plain Redis, nothing that may not be lost.

A lost report costs a lease timeout, never a result: the conductor then finds the step's manifest."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from pydantic import ValidationError
from touchstone_contracts.messages import REPORTS, StepReport
from touchstone_contracts.problems import Transient
from touchstone_contracts.values import StepId

from touchstone_runtime.crash_points import crash_point, reach
from touchstone_runtime.redis_connections import ANSWER_SECONDS, connect_redis

REPORT_LIST = "touchstone:reports"
LISTENING, LISTENING_SECONDS = "touchstone:listening", 60
"""Written by whoever receives reports, to see that they can be written."""
MAX_WAITING_REPORTS = 100_000
CANCEL_SECONDS = 3600
LONGEST_WAIT_SECONDS = ANSWER_SECONDS - 1
"""A longer silence would be taken for a server that is gone."""
ATTEMPT_SECONDS = 30 * 24 * 3600
"""Longer than a message can wait to be delivered again (queue.VISIBILITY_TIMEOUT)."""


class ReportLine:
    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def send(self, report: StepReport) -> None:
        try:
            pipeline = self._client.pipeline(transaction=False)
            pipeline.rpush(REPORT_LIST, REPORTS.dump_json(report))
            pipeline.ltrim(REPORT_LIST, -MAX_WAITING_REPORTS, -1)
            with crash_point(f"report.{report.event}"):
                pipeline.execute()
        except redis.RedisError as error:
            raise Transient(f"cannot report to the conductor: {error}", code="redis") from error

    def receive(self, timeout: float) -> list[StepReport]:
        """Waits up to `timeout` seconds, LONGEST_WAIT_SECONDS at most, for the first report, then takes all that wait.
        Unreadable ones are dropped. Raises Transient, also where Redis answers but takes nothing, as when its memory is
        full: a worker cannot report then, and its silence says nothing about it."""
        try:
            self._client.set(LISTENING, 1, ex=LISTENING_SECONDS)
            first = self._client.blpop([REPORT_LIST], timeout=min(timeout, LONGEST_WAIT_SECONDS))
            if first is None:
                return []
            rest = self._client.lpop(REPORT_LIST, 1000) or []
        except redis.RedisError as error:
            raise Transient(f"cannot receive reports: {error}", code="redis") from error
        reach("reports.received.after")
        return [report for data in (first[1], *rest) if (report := _parse(data)) is not None]

    def mark_cancelled(self, step: StepId) -> None:
        """Tells a worker at its next progress that nobody wants the step. Raises Transient."""
        with redis_outages_translated():
            self._client.set(f"touchstone:cancelled:{step}", 1, ex=CANCEL_SECONDS)

    def note_attempt(self, step: StepId, attempt: int) -> None:
        """From now on this attempt is wanted and no earlier one. Raises Transient."""
        with redis_outages_translated():
            pipeline = self._client.pipeline(transaction=False)
            pipeline.delete(f"touchstone:cancelled:{step}")
            pipeline.set(f"touchstone:attempt:{step}", attempt, ex=ATTEMPT_SECONDS)
            pipeline.execute()

    def is_unwanted(self, step: StepId, attempt: int) -> bool:
        """Whether the step is cancelled or another attempt at it has been handed out since. What Redis has forgotten is
        wanted. Raises Transient."""
        with redis_outages_translated():
            cancelled, latest = self._client.mget(f"touchstone:cancelled:{step}", f"touchstone:attempt:{step}")
        return cancelled is not None or (latest is not None and int(latest) > attempt)


@contextmanager
def redis_outages_translated() -> Iterator[None]:
    """Raises Transient for whatever the client raises."""
    try:
        yield
    except redis.RedisError as error:
        raise Transient(f"cannot reach Redis: {error}", code="redis") from error


def _parse(data: bytes) -> StepReport | None:
    try:
        return REPORTS.validate_json(data)
    except ValidationError:
        return None


def connect_reports(redis_url: str, ca_file: Path | None = None) -> ReportLine:
    return ReportLine(connect_redis(redis_url, ca_file))
