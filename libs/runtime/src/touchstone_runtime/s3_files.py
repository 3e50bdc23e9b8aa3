"""Files people keep on the S3 server of the settings, in any bucket: read, never written."""

from pathlib import Path

from minio import Minio
from touchstone_contracts.problems import Invalid

from touchstone_runtime.objects import MissingObject, connect_s3, translated
from touchstone_runtime.settings import RuntimeSettings

SCHEME = "s3://"


class S3Files:
    def __init__(self, client: Minio) -> None:
        self._client = client

    def fetch(self, place: str, path: Path) -> None:
        """Writes the object to `path`. Raises Invalid when it is not there, Transient when the server is not."""
        bucket, key = _bucket_and_key(place)
        try:
            with translated(place):
                self._client.fget_object(bucket, key, str(path))
        except MissingObject:
            raise Invalid(f"{place} is not there; check bucket and key", code="place_missing") from None

    def below(self, place: str) -> list[str]:
        """The places of all objects whose key starts with that of `place`, sorted."""
        bucket, prefix = _bucket_and_key(place)
        with translated(place):
            found = [entry.object_name for entry in self._client.list_objects(bucket, prefix, recursive=True)]
        return sorted(f"{SCHEME}{bucket}/{key}" for key in found if key is not None)


def connect_files(settings: RuntimeSettings) -> S3Files:
    return S3Files(connect_s3(settings))


def _bucket_and_key(place: str) -> tuple[str, str]:
    bucket, _, key = place.removeprefix(SCHEME).partition("/")
    return bucket, key
