"""Which web servers a link may lead to: asked before each request, so also where a redirect leads."""

import aiohttp
from touchstone_contracts.sources import AllowedSources


class HostNotAllowed(Exception):
    """Not an OSError: the session would take it for a failed connection."""


def allowed_hosts(allowed: AllowedSources) -> aiohttp.ClientMiddlewareType:
    """For aiohttp.ClientSession. The requests raise HostNotAllowed before any address is looked up."""

    async def require_host(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if not allowed.permits_host(request.url.raw_host or ""):
            raise HostNotAllowed
        return await handler(request)

    return require_host
