"""Texts without passwords: errors quote addresses, and they travel into logs, over HTTP and onto pages."""

import re
from collections.abc import Collection
from urllib.parse import unquote

HIDDEN = "***"
SHORTEST = 8
"""Characters of a secret that is looked for by itself: a shorter one would be found inside other words."""
_PASSWORD = re.compile(r"(?<=://)(?P<before>[^\s:/?#@]*:)(?P<password>[^\s/?#]+)(?=@)")
_PARAMETER = re.compile(r"(?P<before>[?&](?:sentinel_|ssl_)?password=)(?P<password>[^\s&#;]+)")


def redacted(text: str, secrets: Collection[str] = ()) -> str:
    """Without the passwords of URLs, and without `secrets` wherever they stand."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= SHORTEST:
            text = text.replace(secret, HIDDEN)
    for pattern in (_PASSWORD, _PARAMETER):
        text = pattern.sub(rf"\g<before>{HIDDEN}", text)
    return text


def passwords_in(value: str) -> tuple[str, ...]:
    """What is secret in a setting: of a URL its password, as written and as meant; of anything else all of it."""
    if "://" not in value:
        return (value,) if value else ()
    written = [found["password"] for pattern in (_PASSWORD, _PARAMETER) for found in pattern.finditer(value)]
    return tuple(dict.fromkeys((*written, *map(unquote, written))))
