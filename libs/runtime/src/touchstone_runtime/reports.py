"""Reports from workers to the conductor, and cancellation marks back: plain Redis, nothing that may not be lost.

A lost report costs a lease timeout, never a result: the conductor then finds the step's manifest."""

from collections.abc import Iterator
from contextlib import contextmanager

import redis
from pydantic import ValidationError
from touchstone_contracts.messages import REPORTS, StepReport
from touchstone_contracts.problems import Transient
from touchstone_contracts.values import StepId

REPORT_LIST = "touchstone:reports"
MAX_WAITING_REPORTS = 100_000
CANCEL_SECONDS = 3600


class ReportLine:
    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def send(self, report: StepReport) -> None:
        try:
            pipeline = self._client.pipeline(transaction=False)
            pipeline.rpush(REPORT_LIST, REPORTS.dump_json(report))
            pipeline.ltrim(REPORT_LIST, -MAX_WAITING_REPORTS, -1)
            pipeline.execute()
        except redis.RedisError as error:
            raise Transient(f"cannot report to the conductor: {error}", code="redis") from error

    def receive(self, timeout: float) -> list[StepReport]:
        """Waits up to `timeout` seconds for the first report, then takes all that wait. Unreadable ones are dropped."""
        try:
            first = self._client.blpop([REPORT_LIST], timeout=timeout)
            if first is None:
                return []
            rest = self._client.lpop(REPORT_LIST, 1000) or []
        except redis.RedisError as error:
            raise Transient(f"cannot receive reports: {error}", code="redis") from error
        return [report for data in (first[1], *rest) if (report := _parse(data)) is not None]

    def mark_cancelled(self, step: StepId) -> None:
        """Tells a worker at its next progress that nobody wants the step. Raises Transient."""
        with redis_outages_translated():
            self._client.set(f"touchstone:cancelled:{step}", 1, ex=CANCEL_SECONDS)

    def clear_cancelled(self, step: StepId) -> None:
        with redis_outages_translated():
            self._client.delete(f"touchstone:cancelled:{step}")

    def is_cancelled(self, step: StepId) -> bool:
        with redis_outages_translated():
            return bool(self._client.exists(f"touchstone:cancelled:{step}"))


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


def connect_reports(redis_url: str) -> ReportLine:
    return ReportLine(redis.Redis.from_url(redis_url, health_check_interval=30, socket_connect_timeout=5))
