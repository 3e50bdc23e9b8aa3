"""Conditional requests (RFC 9110): `If-None-Match` answers 304 where the caller has the same bytes already, `If-Match`
refuses to change what has become something else.

An ETag is the sha256 of an answer's bytes, so that it needs no version of what is shown: everything that is read has
one."""

import re
from collections.abc import Callable
from hashlib import sha256

from pydantic import BaseModel
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from touchstone_contracts.problems import Invalid

API = "/v1/"
EVENT_STREAM = "text/event-stream"
REVALIDATED = "private, no-cache"
"""May be kept by the caller alone, who asks each time whether it is still so."""
_TAG = re.compile(r'(?:W/)?("[^"]*")')
_OF_NO_BODY = (b"content-length", b"content-type")


class PreconditionFailed(Invalid):
    """What `If-Match` names has changed since the caller read it."""

    code = "precondition_failed"
    status = 412
    title = "Changed meanwhile"


def etag_of(body: bytes) -> str:
    return f'"{sha256(body).hexdigest()}"'


def require_match(if_match: str | None, shown: Callable[[], BaseModel]) -> None:
    """`shown`: what GET answers now; asked in the transaction that changes it, which has locked it. Raises
    PreconditionFailed where `if_match` is given and names none of its tags."""
    if if_match is not None and not _matches(if_match, etag_of(shown().model_dump_json(by_alias=True).encode())):
        raise PreconditionFailed(
            "it has changed since the If-Match was read: GET it again, look, and send its new ETag"
        )


def _matches(header: str, etag: str) -> bool:
    return header.strip() == "*" or etag in _TAG.findall(header)


class ConditionalGet:
    """Pure ASGI middleware: what GET answers below /v1 gets an ETag, unless the route gave one or it is a stream."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or not scope["path"].startswith(API):
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("if-none-match", "")
        await self.app(scope, receive, _Answer(given, send))


class _Answer:
    """Holds the start of an answer back until its bytes are known."""

    def __init__(self, if_none_match: str, send: Send) -> None:
        self._if_none_match = if_none_match
        self._send = send
        self._start: Message | None = None
        self._body: list[bytes] = []

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _has_tag(message):
            self._start = message
        elif self._start is None:
            await self._send(message)
        else:
            self._body.append(message.get("body", b""))
            if not message.get("more_body", False):
                await self._finish(self._start, b"".join(self._body))

    async def _finish(self, start: Message, body: bytes) -> None:
        headers = MutableHeaders(scope=start)
        headers.setdefault("ETag", etag_of(body))
        headers.setdefault("Cache-Control", REVALIDATED)
        if _matches(self._if_none_match, headers["ETag"]):
            kept = [(name, value) for name, value in start["headers"] if name.lower() not in _OF_NO_BODY]
            start, body = {**start, "status": 304, "headers": kept}, b""
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body})


def _has_tag(start: Message) -> bool:
    return start["status"] == 200 and not Headers(raw=start["headers"]).get("content-type", "").startswith(EVENT_STREAM)
