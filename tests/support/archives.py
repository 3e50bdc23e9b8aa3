"""Zip and tar archives: of files, and hostile ones."""

import io
import stat
import tarfile
import zipfile
from collections.abc import Mapping

Files = Mapping[str, bytes]


def zip_of(files: Files, *, compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, compression)
    return buffer.getvalue()


def tar_of(files: Files) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def tar_with_link(name: str, target: str, kind: bytes) -> bytes:
    """Beside a file `a.png`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.png"), io.BytesIO())
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, target
        archive.addfile(info)
    return buffer.getvalue()


def zip_with_link(name: str, target: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, target)
    return buffer.getvalue()


def zip_bomb(members: int, size: int) -> bytes:
    """Zeros that hardly take a byte."""
    return zip_of({f"{number}.png": bytes(size) for number in range(members)}, compression=zipfile.ZIP_DEFLATED)


def lying_zip(size: int) -> bytes:
    """A member of `size` zeros whose directory says that it has ten bytes."""
    data = bytearray(zip_bomb(1, size))
    for where in (data.find(b"PK\x01\x02") + 24, data.find(b"PK\x03\x04") + 22):
        data[where : where + 4] = (10).to_bytes(4, "little")
    return bytes(data)
