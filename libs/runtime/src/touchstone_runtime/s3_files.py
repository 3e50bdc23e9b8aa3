"""Files people keep on the S3 server of the settings, in any bucket: read, never written."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minio import Minio
from touchstone_contracts.problems import Invalid
from touchstone_contracts.sources import AllowedSources

from touchstone_runtime.objects import MissingObject, translated
from touchstone_runtime.remote_files import Needed, fetch_each_below
from touchstone_runtime.s3_connections import connect_s3
from touchstone_runtime.settings import RuntimeSettings

SCHEME = "s3://"


class S3Files:
    def __init__(self, client: Minio, allowed: AllowedSources) -> None:
        self._client, self._allowed = client, allowed

    def fetch(self, location: str, path: Path) -> None:
        """Writes the object to `path`. Raises SourceNotAllowed before the server is asked, Invalid when the object is
        not there, Transient when the server is not."""
        self._allowed.require(location)
        bucket, key = _bucket_and_key(location)
        with _named_by_hand(location):
            self._client.fget_object(bucket, key, str(path))

    def fetch_folder(self, location: str, folder: Path, needed: Needed) -> None:
        """Writes the objects below the prefix that are `needed`, by their path below it, and makes the folders of all.

        Raises Invalid when there is none or a key is no path, Transient when the server cannot be reached."""
        prefix = location.rstrip("/") + "/"
        fetch_each_below(self, prefix, self.below(prefix), folder, needed)

    def below(self, location: str) -> list[str]:
        """The locations of all objects whose key starts with that of `location`, sorted. Raises as `fetch`."""
        self._allowed.require(location)
        bucket, prefix = _bucket_and_key(location)
        with _named_by_hand(location):
            found = [entry.object_name for entry in self._client.list_objects(bucket, prefix, recursive=True)]
        return sorted(f"{SCHEME}{bucket}/{key}" for key in found if key is not None)


@contextmanager
def _named_by_hand(location: str) -> Iterator[None]:
    """What is missing here was written down wrongly: waiting will not bring it."""
    try:
        with translated(location):
            yield
    except MissingObject:
        raise Invalid(f"{location} is not there; check bucket and key", code="place_missing") from None


def connect_files(settings: RuntimeSettings) -> S3Files:
    return S3Files(connect_s3(settings), settings.allowed_sources)


def _bucket_and_key(location: str) -> tuple[str, str]:
    bucket, _, key = location.removeprefix(SCHEME).partition("/")
    return bucket, key
