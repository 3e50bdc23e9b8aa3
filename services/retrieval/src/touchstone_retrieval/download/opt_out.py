"""Owners who do not want their images trained on say so in the header X-Robots-Tag."""

from collections.abc import Iterable

AGENT = "touchstone"
REFUSALS = frozenset({"noai", "noimageai", "noindex", "noimageindex"})
"""As img2dataset reads them by default."""


def opted_out(headers: Iterable[str]) -> bool:
    """`headers`: the values of X-Robots-Tag, `noai, nofollow` or `<crawler>: noai`; another crawler's do not count."""
    return any(_refuses(header) for header in headers)


def _refuses(header: str) -> bool:
    crawler, colon, rest = header.lower().partition(":")
    directives = rest if colon else crawler
    return (not colon or crawler.strip() == AGENT) and any(part.strip() in REFUSALS for part in directives.split(","))
