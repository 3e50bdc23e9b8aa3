"""Tar archives as people have them, written member by member."""

import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from touchstone_contracts.catalogue import TarShard
from touchstone_contracts.identity import sha256
from touchstone_retrieval.ingest.tar_samples import index_samples
from touchstone_retrieval.ingest.tar_source import TarSource, open_tar

TYPES = {
    "file": tarfile.REGTYPE,
    "hard": tarfile.LNKTYPE,
    "symbolic": tarfile.SYMTYPE,
    "folder": tarfile.DIRTYPE,
    "pipe": tarfile.FIFOTYPE,
}


@dataclass(frozen=True)
class Put:
    name: str
    data: bytes = b""
    kind: str = "file"
    to: str = ""
    """What a link leads to."""


def image(name: str) -> Put:
    return Put(name, picture(name))


def picture(name: str) -> bytes:
    """Bytes of their own for each name; nothing decodes them."""
    return f"pixels of {name}".encode()


def tar(members: Iterable[Put], format: int = tarfile.PAX_FORMAT, encoding: str = "utf-8") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format, encoding=encoding) as archive:
        for put in members:
            info = tarfile.TarInfo(put.name)
            info.size, info.type, info.linkname = len(put.data), TYPES[put.kind], put.to
            archive.addfile(info, io.BytesIO(put.data))
    return buffer.getvalue()


def opened_tar(folder: Path, data: bytes) -> TarSource:
    """Registered with the number of samples that the index says, as describe registers it."""
    path = folder / "x.tar"
    path.write_bytes(data)
    images = len(index_samples(path, "x.tar").by_key)
    shard = TarShard(location="library:x.tar", digest=sha256(data), images=images)
    return open_tar(path, shard, labels_as_found=True)
