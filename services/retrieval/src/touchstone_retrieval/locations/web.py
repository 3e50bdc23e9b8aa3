"""Single files of web servers (`https://`), by the same gate as the links of an upstream: hosts that are allowed, and
public addresses unless a setting says otherwise."""

from typing import Any

import aiohttp
from fsspec.implementations.http import HTTPFileSystem
from touchstone_contracts.problems import Invalid
from touchstone_contracts.sources import AllowedSources

from touchstone_retrieval.download.fetching import open_session
from touchstone_retrieval.locations.fsspec_files import FsspecFiles

CONNECT_SECONDS, SILENT_SECONDS = 15.0, 60.0


class WebFiles(FsspecFiles):
    def __init__(self, allowed: AllowedSources, most_bytes: int, *, private_addresses: bool) -> None:
        self._private_addresses = private_addresses

        async def session(**_: Any) -> Any:
            return open_session(private_addresses, allowed)

        def connect() -> HTTPFileSystem:
            timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=SILENT_SECONDS)
            return HTTPFileSystem(get_client=session, timeout=timeout, skip_instance_cache=True)

        super().__init__(connect, allowed, most_bytes)

    def below(self, location: str) -> list[str]:
        """Web servers do not say what else they have."""
        self._allowed.require(location)
        return [location]

    def _path(self, location: str) -> str:
        if location.startswith("http:") and not self._private_addresses:
            raise Invalid(f"{location} could be changed on its way: use https://", code="not_encrypted")
        return location
