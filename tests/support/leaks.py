"""Looks for secrets of the system under test in texts that people may read: logs, answers, pages.

require_no_leak(logs_of(stack), secrets_of_stack(stack))
"""

import base64
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import httpx
from touchstone_runtime.settings import RuntimeSettings
from touchstone_stack.lifecycle import Stack

SHORTEST = 8
"""Characters: a shorter word would be found in texts by chance, and protects nothing."""


def secrets_of(*settings: RuntimeSettings) -> frozenset[str]:
    """Of settings that a test has made itself. Raises AssertionError where they hold none."""
    return _usable(secret for one in settings for secret in one.secrets)


def secrets_of_stack(stack: Stack) -> frozenset[str]:
    """Of a stack that is up or was."""
    state = stack.folder.read_state()
    assert state is not None, "the stack was never started"
    names = ("valkey", "s3_secret_key", "supervisor", "operator_key", "webhook_key")
    return _usable(getattr(state.secrets, name).get_secret_value() for name in names)


def logs_of(stack: Stack) -> dict[str, bytes]:
    """By file; also of processes that have ended."""
    found = {path.name: path.read_bytes() for path in sorted(stack.folder.logs.glob("*"))}
    assert found, "a stack without a log"
    return found


def leaks(texts: Mapping[str, str | bytes], secrets: Collection[str]) -> list[str]:
    """Where a secret stands, as it is, quoted for URLs or in base64. Never the secret itself: this is printed."""
    return [f"{name}:{line}" for name, text in texts.items() for line in _lines_with_secrets(text, secrets)]


def require_no_leak(texts: Mapping[str, str | bytes], secrets: Collection[str]) -> int:
    """How many characters were looked through. Raises AssertionError that says where the secrets are."""
    assert secrets, "nothing to look for"
    found = leaks(texts, secrets)
    assert found == [], f"secrets stand in {', '.join(found[:20])}"
    return sum(map(len, texts.values()))


def looked_through(secrets: Collection[str]) -> dict[str, list[Callable[..., Any]]]:
    """`event_hooks` of a client: no answer holds a secret, in its body or its headers."""

    def look(answer: httpx.Response) -> None:
        headers = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
        require_no_leak(
            {f"{answer.request.method} {answer.url.path}": headers.encode() + b"\n" + answer.read()}, secrets
        )

    return {"response": [look]}


def _usable(secrets: Iterator[str]) -> frozenset[str]:
    found = frozenset(secrets)
    assert found, "settings without a secret"
    assert all(len(secret) >= SHORTEST for secret in found), "a secret that is too short to look for"
    return found


def _lines_with_secrets(text: str | bytes, secrets: Collection[str]) -> list[int]:
    looked_for = {form for secret in secrets for form in _forms(secret.encode())}
    raw = text.encode() if isinstance(text, str) else text
    return [number for number, line in enumerate(raw.splitlines(), 1) if any(form in line for form in looked_for)]


def _forms(secret: bytes) -> Iterator[bytes]:
    yield secret
    yield quote(secret, safe="").encode()
    # By where it stands, three ways to write it; their ends depend on what is beside it.
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + secret).rstrip(b"=")
        yield encoded[4 if before else 0 : -2]
