"""An object store of four verbs. Vendor errors stop here."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Protocol

import urllib3
from minio import Minio
from minio.error import S3Error
from touchstone_contracts.problems import Transient

from touchstone_runtime.settings import RuntimeSettings


class MissingObject(Transient):
    """The object is not there. Transient: whoever makes it may still be at work, or it can be made again."""

    code = "missing_object"
    title = "Missing object"


class ObjectStore(Protocol):
    def put(self, key: str, data: bytes) -> None:
        """Write once: an existing object of the same size is left as it is."""

    def get(self, key: str) -> bytes:
        """Raises MissingObject."""

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """Raises MissingObject."""

    def size(self, key: str) -> int | None:
        """Bytes, or None if there is no such object."""


class MemoryObjects:
    """The fake for tests; sits the same conformance suite as S3Objects."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}

    def put(self, key: str, data: bytes) -> None:
        if self.size(key) != len(data):
            self._objects[key] = bytes(data)

    def get(self, key: str) -> bytes:
        try:
            return self._objects[key]
        except KeyError:
            raise MissingObject(f"no object {key}") from None

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        return self.get(key)[offset : offset + length]

    def size(self, key: str) -> int | None:
        data = self._objects.get(key)
        return None if data is None else len(data)

    def remove(self, key: str) -> None:
        """For tests of lost objects."""
        self._objects.pop(key, None)


class S3Objects:
    """Any S3 server through the minio client."""

    def __init__(self, client: Minio, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def create_bucket(self) -> None:
        with translated(self._bucket):
            if not self._client.bucket_exists(self._bucket):
                self._client.make_bucket(self._bucket)

    def put(self, key: str, data: bytes) -> None:
        if self.size(key) == len(data):
            return
        with translated(key):
            self._client.put_object(self._bucket, key, BytesIO(data), len(data))

    def get(self, key: str) -> bytes:
        return self._read(key)

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        return self._read(key, offset, length)

    def _read(self, key: str, offset: int = 0, length: int = 0) -> bytes:
        with translated(key):
            response = self._client.get_object(self._bucket, key, offset=offset, length=length)
            try:
                return bytes(response.read())
            finally:
                response.close()
                response.release_conn()

    def size(self, key: str) -> int | None:
        try:
            with translated(key):
                return self._client.stat_object(self._bucket, key).size
        except MissingObject:
            return None


@contextmanager
def translated(key: str) -> Iterator[None]:
    """Raises MissingObject or Transient for what the client raises."""
    try:
        yield
    except S3Error as error:
        if error.code in {"NoSuchKey", "NoSuchObject", "NoSuchBucket"}:
            raise MissingObject(f"no object {key}") from error
        raise Transient(f"object store refused {key}: {error.code}", code="object_store") from error
    except urllib3.exceptions.HTTPError as error:
        raise Transient(f"object store unreachable at {key}: {error}", code="object_store") from error


def connect_objects(settings: RuntimeSettings) -> S3Objects:
    return S3Objects(connect_s3(settings), settings.s3_bucket)


def connect_s3(settings: RuntimeSettings) -> Minio:
    # minio's own retries back off for many seconds after a restart; steps are retried by the conductor anyway.
    pool = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=5, read=60), maxsize=16, retries=urllib3.Retry(total=2, backoff_factor=0.2)
    )
    return Minio(
        settings.s3_endpoint,
        access_key=settings.s3_access_key,
        secret_key=settings.s3_secret_key.get_secret_value(),
        secure=settings.s3_secure,
        region="us-east-1",
        http_client=pool,
    )
