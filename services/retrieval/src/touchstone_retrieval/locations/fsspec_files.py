"""Files behind a file system of fsspec. Errors of vendors stop here."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import aiohttp
import httpx
from fsspec.callbacks import Callback
from fsspec.exceptions import FSTimeoutError
from fsspec.spec import AbstractFileSystem
from touchstone_contracts.problems import Invalid, Transient
from touchstone_contracts.sources import AllowedSources, SourceNotAllowed
from touchstone_runtime.addresses import ForbiddenPort, PrivateAddress
from touchstone_runtime.remote_files import Needed, fetch_each_below

from touchstone_retrieval.download.hosts import HostNotAllowed

Connect = Callable[[], AbstractFileSystem]
"""Raises Invalid where this worker has no such file system."""
WORTH_A_RETRY = 500
"""The first status of a server that may answer later; 408 and 429 may, too."""


class FsspecFiles:
    """Of one scheme."""

    def __init__(self, connect: Connect, allowed: AllowedSources, most_bytes: int) -> None:
        """`most_bytes`: of one file."""
        self._connect, self._allowed, self._most_bytes = connect, allowed, most_bytes

    @cached_property
    def filesystem(self) -> AbstractFileSystem:
        """Connected when it is needed first."""
        return self._connect()

    def fetch(self, location: str, path: Path) -> None:
        self._allowed.require(location)
        with told(location):
            self.filesystem.get_file(self._path(location), str(path), callback=_Cap(location, self._most_bytes))

    def fetch_folder(self, location: str, folder: Path, needed: Needed) -> None:
        prefix = location.rstrip("/") + "/"
        fetch_each_below(self, prefix, self.below(location), folder, needed)

    def below(self, location: str) -> list[str]:
        self._allowed.require(location)
        scheme = location.partition("://")[0]
        with told(location):
            found = self.filesystem.find(self._path(location))
        return sorted(f"{scheme}://{path}" for path in found)

    def _path(self, location: str) -> str:
        """As the file system calls it."""
        return location


class _Cap(Callback):
    """Stops a transfer."""

    def __init__(self, location: str, most_bytes: int) -> None:
        super().__init__()
        self._location, self._most_bytes = location, most_bytes

    def set_size(self, size: int | None) -> None:
        super().set_size(size)
        self._require(size or 0)

    def relative_update(self, inc: int = 1) -> None:
        super().relative_update(inc)
        self._require(self.value)

    def _require(self, size: int) -> None:
        if size > self._most_bytes:
            raise Invalid(
                f"{self._location} has more than {self._most_bytes:,} bytes, which is the most that a worker fetches "
                "of a file: raise TOUCHSTONE_FETCHED_BYTES on the retrieval workers, or make several files of it",
                code="too_many_bytes",
            )


@contextmanager
def told(location: str) -> Iterator[None]:
    """Raises Invalid, SourceNotAllowed or Transient for what a file system raises."""
    try:
        yield
    except HostNotAllowed:
        raise SourceNotAllowed(f"{location} leads to a host that may not be read (TOUCHSTONE_ALLOWED_HOSTS)") from None
    except FileNotFoundError:
        raise Invalid(f"{location} is not there; check the name", code="place_missing") from None
    except PermissionError:
        raise Invalid(f"{location} may not be read with the credentials of the worker", code="place_refused") from None
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError, aiohttp.TooManyRedirects) as error:
        raise Invalid(f"{location} cannot be fetched: {type(error).__name__}", code="bad_url") from None
    except aiohttp.ClientResponseError as error:
        raise _refused(location, error.status) from None
    except (aiohttp.ClientError, httpx.HTTPError, FSTimeoutError, TimeoutError, OSError) as error:
        # What a hub answers is an error of httpx and of the system at once.
        answer = getattr(error, "response", None)
        raise (_unreachable(location, error) if answer is None else _refused(location, answer.status_code)) from None


def _refused(location: str, status: int) -> Invalid | Transient:
    if status >= WORTH_A_RETRY or status in (408, 429):
        return Transient(f"the server of {location} answers {status}", code="location")
    code = "place_missing" if status in (404, 410) else "place_refused"
    return Invalid(f"the server of {location} answers {status}", code=code)


def _unreachable(location: str, error: BaseException) -> Invalid | Transient:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, PrivateAddress):
            detail = f"{location} leads into a private network, and TOUCHSTONE_DOWNLOAD_PRIVATE_ADDRESSES is not set"
            return Invalid(detail, code="private_address")
        if isinstance(cause, ForbiddenPort):
            return Invalid(f"{location}: {cause}", code="bad_url")
        cause = cause.__cause__ or cause.__context__
    return Transient(f"cannot get {location}: {type(error).__name__}", code="location")
