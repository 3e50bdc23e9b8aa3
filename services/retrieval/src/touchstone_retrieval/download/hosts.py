"""Which web servers a link may lead to: asked before each request, so also where a redirect leads."""

import aiohttp
from touchstone_contracts.sources import AllowedSources


class HostNotAllowed(Exception):
    """Not an OSError: the session would take it for a failed connection."""


def allowed_hosts(allowed: AllowedSources, *narrower: AllowedSources) -> aiohttp.ClientMiddlewareType:
    """For aiohttp.ClientSession; each list must permit a host. The requests raise HostNotAllowed before any address
    is looked up."""

    async def require_host(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        host = request.url.raw_host or ""
        if not all(policy.permits_host(host) for policy in (allowed, *narrower)):
            raise HostNotAllowed
        return await handler(request)

    return require_host
