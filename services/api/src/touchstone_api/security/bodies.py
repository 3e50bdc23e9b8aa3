"""How large a body may be, in bytes and in what its JSON holds, before anything is built from it."""

import re
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from touchstone_contracts.problems import Problem

from touchstone_api.problems import problem_response
from touchstone_api.security.gate import UPLOADS

WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS"})
# Possessive, and the last quote may be missing: no byte is looked at twice, whatever the quotes are.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


@dataclass(frozen=True)
class JsonBudget:
    keys: int = 100_000
    """Of all objects together; a target of ten thousand classes has 50,000."""
    values: int = 400_000
    """Numbers, strings, arrays and objects: such a target with thirty aliases a class."""
    depth: int = 32
    """Arrays and objects inside each other; a spec has eight."""

    def excess(self, body: bytes) -> str | None:
        """What there is too much of, in words; None: the body may be parsed. Linear in its length."""
        # A string takes two quotes without a backslash, so this finds what is far too large in no time.
        most_strings = self.keys + self.values + 1
        if (body.count(b'"') - body.count(b'\\"')) // 2 > most_strings:
            return f"more than {most_strings:,} strings"
        bare = _STRING.sub(b"", body)
        if bare.count(b":") > self.keys:
            return f"more than {self.keys:,} keys"
        if bare.count(b",") + bare.count(b"[") + bare.count(b"{") > self.values:
            return f"more than {self.values:,} values"
        if _is_deeper(bare, self.depth):
            return f"more than {self.depth} arrays and objects inside each other"
        return None


def _is_deeper(bare: bytes, depth: int) -> bool:
    inside = 0
    for bracket in bare.translate(None, _NO_BRACKETS):
        inside += 1 if bracket in b"[{" else -1
        if inside > depth:
            return True
    return False


class LimitBodies:
    """Pure ASGI middleware: reads a body whole, and answers 413 or 422 where it exceeds a limit, whether or not it
    declared its length. Uploads are bounded where they are streamed.

    FastAPI's own `max_body_size` answers a declared length in plain text, which is no problem document."""

    def __init__(self, app: ASGIApp, max_bytes: int, budget: JsonBudget) -> None:
        self.app, self.max_bytes, self.budget = app, max_bytes, budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in WITHOUT_BODY or scope["path"] == UPLOADS:
            await self.app(scope, receive, send)
            return
        body = await self._read(scope, receive)
        if body is None:
            problem = self._too_large()
        elif (excess := self.budget.excess(body)) is not None:
            problem = _too_complex(excess)
        else:
            await self.app(scope, _again(body, receive), send)
            return
        await problem_response(Request(scope), problem)(scope, receive, send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        """None where it is too large. Of a caller who left before its end, what there is."""
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared[:20]) > self.max_bytes:
            return None
        pieces, size, more = list[bytes](), 0, True
        while more:
            message = await receive()
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            if size > self.max_bytes:
                return None
            more = message.get("more_body", False)
        return b"".join(pieces)

    def _too_large(self) -> Problem:
        detail = f"the body is larger than {self.max_bytes} bytes"
        return Problem(title="Content Too Large", status=413, code="body_too_large", detail=detail)


def _too_complex(excess: str) -> Problem:
    detail = f"the body holds {excess}: no request needs so much"
    return Problem(title="Invalid request", status=422, code="body_too_complex", detail=detail)


def _again(body: bytes, receive: Receive) -> Receive:
    """The body that was read, then what comes after it."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return waiting.pop() if waiting else await receive()

    return receive_again
