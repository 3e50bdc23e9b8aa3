"""An object store of six verbs. Vendor errors stop here."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from typing import Protocol
from xml.etree import ElementTree

import urllib3
from minio import Minio
from minio.datatypes import Object
from minio.error import MinioException, S3Error
from touchstone_contracts.problems import Problem, Transient

from touchstone_runtime.crash_points import crash_point
from touchstone_runtime.s3_connections import connect_s3
from touchstone_runtime.settings import RuntimeSettings

SMALLEST_PART, LARGEST_PART = 5 * 2**20, 5 * 2**30
"""Bytes that S3 takes in one request of an upload; the client sends less than the smallest in one anyway."""


class MissingObject(Transient):
    """The object is not there. Transient: whoever makes it may still be at work, or it can be made again."""

    code = "missing_object"
    title = "Missing object"

    def __init__(self, detail: str, *, key: str | None = None) -> None:
        super().__init__(detail)
        self.key = key

    def problem(self) -> Problem:
        return super().problem().model_copy(update={"missing_object": self.key})


@dataclass(frozen=True)
class StoredObject:
    key: str
    size: int
    modified: datetime
    """When it was written last; aware."""


class ObjectStore(Protocol):
    def put(self, key: str, data: bytes) -> None:
        """An object that has these bytes already is left as it is, one that has others is replaced."""

    def get(self, key: str) -> bytes:
        """Raises MissingObject."""

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """Raises MissingObject."""

    def size(self, key: str) -> int | None:
        """Bytes, or None if there is no such object."""

    def remove(self, key: str) -> None:
        """No effect where there is no such object."""

    def listed(self, prefix: str) -> Iterator[StoredObject]:
        """Every object whose key begins so, in the order of keys."""


class MemoryObjects:
    """The fake for tests; sits the same conformance suite as S3Objects."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}
        self._modified: dict[str, datetime] = {}

    def put(self, key: str, data: bytes) -> None:
        if self._objects.get(key) != data:
            self._objects[key], self._modified[key] = bytes(data), datetime.now(UTC)

    def get(self, key: str) -> bytes:
        try:
            return self._objects[key]
        except KeyError:
            raise MissingObject(f"no object {key}", key=key) from None

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        return self.get(key)[offset : offset + length]

    def size(self, key: str) -> int | None:
        data = self._objects.get(key)
        return None if data is None else len(data)

    def remove(self, key: str) -> None:
        self._objects.pop(key, None)

    def listed(self, prefix: str) -> Iterator[StoredObject]:
        for key in sorted(self._objects):
            if key.startswith(prefix):
                yield StoredObject(key, len(self._objects[key]), self._modified[key])


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
        if self._has(key, data):
            return
        # In one request wherever the protocol allows it: only then is the ETag the digest that `_has` compares.
        part = len(data) if SMALLEST_PART <= len(data) <= LARGEST_PART else 0
        with translated(key), crash_point(f"put.{_kind_of(key)}"):
            self._client.put_object(self._bucket, key, BytesIO(data), len(data), part_size=part)

    def _has(self, key: str, data: bytes) -> bool:
        """Whether the server says that these bytes lie there. A server whose ETags are no digests never does."""
        found = self._stat(key)
        return (
            found is not None
            and found.size == len(data)
            and found.etag == hashlib.md5(data, usedforsecurity=False).hexdigest()
        )

    def _stat(self, key: str) -> Object | None:
        try:
            with translated(key):
                return self._client.stat_object(self._bucket, key)
        except MissingObject:
            return None

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
        found = self._stat(key)
        return None if found is None else found.size

    def remove(self, key: str) -> None:
        with translated(key), crash_point(f"remove.{_kind_of(key)}"):
            self._client.remove_object(self._bucket, key)

    def listed(self, prefix: str) -> Iterator[StoredObject]:
        with translated(prefix):
            for found in self._client.list_objects(self._bucket, prefix=prefix, recursive=True):
                yield StoredObject(found.object_name, found.size, found.last_modified)


def _kind_of(key: str) -> str:
    """`blobs`, `steps` or `savepoints`: see contracts.keys."""
    return key.partition("/")[0]


@contextmanager
def translated(key: str) -> Iterator[None]:
    """Raises MissingObject or Transient for what the client raises."""
    try:
        yield
    except S3Error as error:
        if error.code in {"NoSuchKey", "NoSuchObject", "NoSuchBucket"}:
            raise MissingObject(f"no object {key}", key=key) from error
        raise Transient(f"object store refused {key}: {error.code}", code="object_store") from error
    except (MinioException, ElementTree.ParseError) as error:
        # Whatever stands before the server, or a part of an answer.
        raise Transient(f"object store answers {key} with no S3: {error}", code="object_store") from error
    except urllib3.exceptions.HTTPError as error:
        raise Transient(f"object store unreachable at {key}: {error}", code="object_store") from error


def connect_objects(settings: RuntimeSettings) -> S3Objects:
    return S3Objects(connect_s3(settings), settings.s3_bucket)
