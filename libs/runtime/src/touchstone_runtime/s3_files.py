"""Files people keep on the S3 server of the settings, in any bucket: read, never written."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from minio import Minio
from touchstone_contracts.problems import Invalid
from touchstone_contracts.sources import AllowedSources

from touchstone_runtime.objects import MissingObject, translated
from touchstone_runtime.s3_connections import CONNECTIONS, connect_s3
from touchstone_runtime.settings import RuntimeSettings

SCHEME = "s3://"


class S3Files:
    def __init__(self, client: Minio, allowed: AllowedSources) -> None:
        self._client, self._allowed = client, allowed

    def fetch(self, place: str, path: Path) -> None:
        """Writes the object to `path`. Raises SourceNotAllowed before the server is asked, Invalid when the object is
        not there, Transient when the server is not."""
        self._allowed.require(place)
        bucket, key = _bucket_and_key(place)
        with _named_by_hand(place):
            self._client.fget_object(bucket, key, str(path))

    def fetch_folder(self, place: str, folder: Path, needed: Callable[[PurePosixPath], bool]) -> None:
        """Writes the objects below the prefix that are `needed`, by their path below it, and makes the folders of all.

        Raises Invalid when there is none or a key is no path, Transient when the server cannot be reached."""
        prefix = place.rstrip("/") + "/"
        # Consoles mark a folder by an object of its name.
        keys = [found.removeprefix(prefix) for found in self.below(prefix) if found != prefix]
        if not keys:
            raise Invalid(f"nothing is below {prefix}; check bucket and prefix", code="place_missing")
        for key in keys:
            _require_path(key, prefix)
            (folder / key.rpartition("/")[0]).mkdir(parents=True, exist_ok=True)
        fetched = [key for key in keys if not key.endswith("/") and needed(PurePosixPath(key))]
        with ThreadPoolExecutor(CONNECTIONS) as fetchers:
            for _ in fetchers.map(lambda key: self.fetch(prefix + key, folder / key), fetched):
                pass  # raises what a fetch raised

    def below(self, place: str) -> list[str]:
        """The places of all objects whose key starts with that of `place`, sorted. Raises as `fetch`."""
        self._allowed.require(place)
        bucket, prefix = _bucket_and_key(place)
        with _named_by_hand(place):
            found = [entry.object_name for entry in self._client.list_objects(bucket, prefix, recursive=True)]
        return sorted(f"{SCHEME}{bucket}/{key}" for key in found if key is not None)


@contextmanager
def _named_by_hand(place: str) -> Iterator[None]:
    """What is missing here was written down wrongly: waiting will not bring it."""
    try:
        with translated(place):
            yield
    except MissingObject:
        raise Invalid(f"{place} is not there; check bucket and key", code="place_missing") from None


def _require_path(key: str, prefix: str) -> None:
    """Keys are any text: one with `..` would be written elsewhere, one with an empty part over its neighbour. A key
    that ends in "/" stands for a folder."""
    if {"", ".", ".."} & set(key.removesuffix("/").split("/")):
        raise Invalid(f"{prefix}{key} has no place in a folder; rename the object", code="unusable_key")


def connect_files(settings: RuntimeSettings) -> S3Files:
    return S3Files(connect_s3(settings), settings.allowed_sources)


def _bucket_and_key(place: str) -> tuple[str, str]:
    bucket, _, key = place.removeprefix(SCHEME).partition("/")
    return bucket, key
