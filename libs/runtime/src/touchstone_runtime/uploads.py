"""Uploaded archives in the object store: in parts, so that nobody holds one in memory, and a document written last."""

import hashlib
import secrets
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from touchstone_contracts.keys import UPLOADS, upload_document_key, upload_part_key
from touchstone_contracts.problems import Invalid
from touchstone_contracts.uploads import Upload

from touchstone_runtime.objects import MissingObject, ObjectStore

PART_BYTES = 16 * 2**20
DOCUMENT = upload_document_key("").rpartition("/")[2]


class UploadWriter:
    """One upload while it arrives."""

    def __init__(self, objects: ObjectStore, project: str) -> None:
        self.id, self.size = f"{project}.{secrets.token_hex(16)}", 0
        self._objects, self._part, self._digest = objects, 0, hashlib.sha256()
        self._waiting = bytearray()

    def add(self, data: bytes) -> bool:
        """Whether a part is full, and wants to be written."""
        self._waiting += data
        self.size += len(data)
        return len(self._waiting) >= PART_BYTES

    def write_parts(self) -> None:
        """Those that are full. Raises Transient."""
        while len(self._waiting) >= PART_BYTES:
            self._write(bytes(self._waiting[:PART_BYTES]))
            del self._waiting[:PART_BYTES]

    def finish(self, now: datetime) -> Upload:
        """Raises Transient."""
        self.write_parts()
        if self._waiting:
            self._write(bytes(self._waiting))
        upload = Upload(id=self.id, size=self.size, digest=self._digest.hexdigest(), created_at=now)
        self._objects.put(upload_document_key(self.id), upload.model_dump_json().encode())
        return upload

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        self._objects.put(upload_part_key(self.id, self._part), data)
        self._part += 1


class Uploads:
    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def begin(self, project: str) -> UploadWriter:
        return UploadWriter(self._objects, project)

    def find(self, upload: str) -> Upload:
        """Raises Invalid where there is none."""
        try:
            return Upload.model_validate_json(self._objects.get(upload_document_key(upload)))
        except MissingObject:
            raise Invalid(
                f"there is no upload {upload}: it was removed, or never finished", code="place_missing"
            ) from None

    def fetch(self, upload: str, path: Path) -> None:
        """Writes the archive to `path`. Raises Invalid where there is none, MissingObject where a part of it is gone or
        damaged."""
        wanted, digest, part = self.find(upload), hashlib.sha256(), 0
        with path.open("wb") as file:
            while file.tell() < wanted.size:
                data = self._objects.get(upload_part_key(upload, part))
                digest.update(data)
                file.write(data)
                part += 1
        if digest.hexdigest() != wanted.digest:
            raise MissingObject(f"upload {upload} has other bytes than were uploaded")

    def of_project(self, project: str) -> Iterator[Upload]:
        """Those that are whole, by id."""
        for stored in self._objects.listed(f"{UPLOADS}{project}/"):
            if stored.key.endswith(f"/{DOCUMENT}"):
                yield Upload.model_validate_json(self._objects.get(stored.key))

    def remove(self, upload: str) -> None:
        """The document first: what has none is no upload."""
        self._objects.remove(upload_document_key(upload))
        for stored in list(self._objects.listed(upload_document_key(upload).removesuffix(DOCUMENT))):
            self._objects.remove(stored.key)
