"""Fetching links over HTTP: within limits of size and time, tried again where that may help, in the order asked for."""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

import aiohttp
from touchstone_contracts.sources import AllowedSources
from touchstone_runtime.addresses import ForbiddenPort, PrivateAddress

from touchstone_retrieval.download.addresses import any_socket, public_socket
from touchstone_retrieval.download.hosts import HostNotAllowed, allowed_hosts
from touchstone_retrieval.download.opt_out import AGENT, opted_out
from touchstone_retrieval.ingest.link_table import MOST_URL_CHARACTERS

NoBytes = Literal[
    "bad_url", "host_not_allowed", "private_address", "unreachable", "timeout", "not_found", "refused", "server_error",
    "opted_out", "too_many_bytes", "missing_bytes",
]  # fmt: skip
"""Why a link gave no bytes. `refused`: another 4xx status than 404 and 410."""
WORTH_A_RETRY: frozenset[NoBytes] = frozenset({"unreachable", "timeout", "server_error"})

CONNECTIONS = 32
CONNECTIONS_PER_HOST = 4
AHEAD = 128
"""Links under way or waiting to be taken: with max_bytes this bounds memory."""
CHUNK = 65_536


@dataclass(frozen=True)
class Limits:
    timeout_seconds: float = 10
    """For one attempt, redirects and body included; img2dataset's default, which the paper used (section 1.5)."""
    retries: int = 2
    retry_after_seconds: float = 0.5
    """Before the first retry; doubled before each further one."""
    max_bytes: int = 10_000_000
    redirects: int = 5


def open_session(
    private_addresses: bool, allowed: AllowedSources, *narrower: AllowedSources
) -> AbstractAsyncContextManager[aiohttp.ClientSession]:
    """No cookies from one link to the next, and nothing unpacked: a few kilobytes may unpack to gigabytes. Each
    list must permit a host."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, socket_factory=any_socket if private_addresses else public_socket),
        headers={"User-Agent": f"{AGENT} (images for research)", "Accept-Encoding": "identity"},
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        auto_decompress=False,
        middlewares=(_without_credentials, allowed_hosts(allowed, *narrower)),
    )


async def _without_credentials(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """A name and password in a link or redirect are somebody's secret, or a trick to show another host's name."""
    if "Authorization" in request.headers:
        raise aiohttp.InvalidURL(request.url, "holds credentials")
    return await handler(request)


@dataclass
class Fetcher:
    session: aiohttp.ClientSession
    limits: Limits = Limits()
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CONNECTIONS))
    _hosts: dict[str, asyncio.Semaphore] = field(
        default_factory=lambda: defaultdict(lambda: asyncio.Semaphore(CONNECTIONS_PER_HOST))
    )

    async def fetch_all(self, urls: Sequence[str]) -> AsyncIterator[bytes | NoBytes]:
        """In order, though links further on are under way already."""
        waiting: deque[asyncio.Task[bytes | NoBytes]] = deque()
        for url in urls:
            waiting.append(asyncio.create_task(self.fetch(url)))
            if len(waiting) >= AHEAD:
                yield await waiting.popleft()
        while waiting:
            yield await waiting.popleft()

    async def fetch(self, url: str) -> bytes | NoBytes:
        host = _host(url)
        if host is None:
            return "bad_url"
        # The slot of the host is taken first, so that links that wait for a slow host do not take the slots of others.
        async with self._hosts[host], self._slots:
            outcome = await self._attempt(url)
            for retry in range(self.limits.retries):
                if outcome not in WORTH_A_RETRY:
                    break
                await asyncio.sleep(self.limits.retry_after_seconds * 2**retry)
                outcome = await self._attempt(url)
        return outcome

    async def _attempt(self, url: str) -> bytes | NoBytes:
        try:
            async with (
                asyncio.timeout(self.limits.timeout_seconds),
                self.session.get(url, max_redirects=self.limits.redirects) as response,
            ):
                return _refusal(response) or await self._body(response)
        except HostNotAllowed:
            return "host_not_allowed"
        except TimeoutError:
            return "timeout"
        # ValueError: a host name that no resolver takes.
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError, aiohttp.TooManyRedirects, ValueError):
            return "bad_url"
        except (aiohttp.ClientError, OSError) as error:
            if _cause(error, ForbiddenPort):
                return "bad_url"
            return "private_address" if _cause(error, PrivateAddress) else "unreachable"

    async def _body(self, response: aiohttp.ClientResponse) -> bytes | NoBytes:
        """Stops reading at the limit, whatever length the server announced."""
        body = bytearray()
        if (response.content_length or 0) > self.limits.max_bytes:
            return "too_many_bytes"
        async for chunk in response.content.iter_chunked(CHUNK):
            body += chunk
            if len(body) > self.limits.max_bytes:
                return "too_many_bytes"
        return bytes(body) or "missing_bytes"


def _host(url: str) -> str | None:
    """None where it is no link to a page: another scheme, no host, credentials, or longer than any page's address."""
    if len(url) > MOST_URL_CHARACTERS:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return parts.hostname if parts.scheme in {"http", "https"} and "@" not in parts.netloc else None


def _refusal(response: aiohttp.ClientResponse) -> NoBytes | None:
    if any(opted_out(each.headers.getall("X-Robots-Tag", [])) for each in (*response.history, response)):
        return "opted_out"
    if response.status < 400:
        return None
    if response.status in {404, 410}:
        return "not_found"
    return "server_error" if response.status >= 500 or response.status == 429 else "refused"


def _cause(error: BaseException | None, kind: type[BaseException]) -> bool:
    while error is not None:
        if isinstance(error, kind):
            return True
        error = error.__cause__ or error.__context__
    return False
