"""How requests are sent, whichever client sends them: address, key, retries and idempotency keys."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx
from httpx_retries import Retry, RetryTransport
from pydantic import ValidationError

from touchstone.calls import Call, Repeatable
from touchstone.credentials import find_key
from touchstone.problems import Unreachable, UnreadableAnswer

T = TypeVar("T")

DEFAULT_SERVER = "http://127.0.0.1:8000"
BUSY = (429, 502, 503, 504)
UPLOAD_SECONDS = 600.0
"""For one part of an archive to be taken, and for the answer to its last one."""
LONGEST_PAUSE = 60.0
"""Seconds: limits of requests are counted by the minute."""
NEVER_ARRIVED = (httpx.ConnectError, httpx.ConnectTimeout)


class Transport:
    """Settings of a client, and the options of its requests.

    Lost connections and answers 429, 502, 503 and 504 are retried after growing pauses with jitter, or after what the
    server asks for (Retry-After). A request that must not be repeated is retried only where it cannot have been
    carried out."""

    def __init__(self, server: str, key: str | None, retries: int, timeout: float) -> None:
        self.server = server.rstrip("/")
        self.key = key or find_key(self.server)
        self.timeout = timeout
        pauses: dict[str, Any] = {"total": retries, "backoff_factor": 0.25, "max_backoff_wait": LONGEST_PAUSE}
        methods = ("GET", "POST", "PUT", "PATCH", "DELETE")
        self.retry = Retry(allowed_methods=methods, status_forcelist=BUSY, **pauses)
        self.at_once = Retry(total=0)
        """Of a request that is sent once, whatever comes."""
        self._unsent = Retry(
            allowed_methods=methods, status_forcelist=(429, 503), retry_on_exceptions=NEVER_ARRIVED, **pauses
        )

    def settings(self, transport: Any) -> dict[str, Any]:
        """Of an httpx client; `transport` replaces the network in tests."""
        return {
            "base_url": self.server,
            "timeout": self.timeout,
            "headers": {} if self.key is None else {"Authorization": f"Bearer {self.key}"},
            "transport": RetryTransport(transport=transport, retry=self.retry),
        }

    def request(self, call: Call[Any]) -> dict[str, Any]:
        """The arguments of httpx's `request`."""
        found: dict[str, Any] = {"method": call.method, "url": call.path, "params": call.params, "json": call.json}
        return found | self._repeating(call.repeatable)

    def upload(self) -> dict[str, Any]:
        """The options of a request that sends an archive."""
        patience = httpx.Timeout(self.timeout, read=UPLOAD_SECONDS, write=UPLOAD_SECONDS)
        return {"headers": {"Content-Type": "application/zip"}, "timeout": patience}

    @contextmanager
    def reached(self) -> Iterator[None]:
        """Around what is sent. Raises Unreachable where no answer comes."""
        try:
            yield
        except httpx.TransportError as error:
            raise Unreachable(self.server, str(error) or type(error).__name__) from error

    def _repeating(self, repeatable: Repeatable) -> dict[str, Any]:
        if repeatable == "keyed":
            return {"headers": {"Idempotency-Key": uuid.uuid4().hex}}
        return {"extensions": {"retry": self._unsent}} if repeatable == "once" else {}


def read_answer(call: Call[T], response: httpx.Response, server: str) -> T:
    """Raises UnreadableAnswer."""
    try:
        return call.read(response)
    except ValidationError as error:
        raise UnreadableAnswer(server, error) from error
