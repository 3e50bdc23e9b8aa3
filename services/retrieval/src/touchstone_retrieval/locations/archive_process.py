"""What the process does that reads zip archives which nobody vouches for: see archives.

A directory of a few kilobytes may announce millions of members, and a member terabytes."""

import json
import stat
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

MEMBERS, DATA, END, ERROR = b"m", b"d", b"e", b"x"
"""Kinds of answers: a JSON list of [name, size, reason]; bytes of a member; its end; why the archive cannot be read."""
MEMBERS_AT_A_TIME = 10_000
CHUNK = 4 * 2**20
ENCRYPTED = 1
"""Flag of a member."""


def answers(request: memoryview) -> Iterator[bytes]:
    """`{"path"}`: its members in order. `{"path", "members"}`: the bytes of those with these numbers, in order."""
    asked: dict[str, Any] = json.loads(bytes(request))
    try:
        with zipfile.ZipFile(asked["path"]) as archive:
            yield from _contents(archive, asked["members"]) if "members" in asked else _members(archive)
    except MemoryError:
        raise
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        yield ERROR + f"{type(error).__name__}: {error}"[:500].encode("utf-8", "replace")
    except Exception as error:  # of bz2 and lzma, and what else a damaged archive makes a library raise
        yield ERROR + type(error).__name__.encode()


def _members(archive: zipfile.ZipFile) -> Iterator[bytes]:
    described = [[info.filename, info.file_size, _reason(info)] for info in archive.infolist()]
    for first in range(0, len(described), MEMBERS_AT_A_TIME):
        yield MEMBERS + json.dumps(described[first : first + MEMBERS_AT_A_TIME]).encode()


def _reason(info: zipfile.ZipInfo) -> str:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if info.is_dir():
        return "folder"
    if kind == stat.S_IFLNK:
        return "symbolic_link"
    if kind not in (0, stat.S_IFREG):
        return "special_file"
    return "encrypted" if info.flag_bits & ENCRYPTED else ""


def _contents(archive: zipfile.ZipFile, numbers: list[int]) -> Iterator[bytes]:
    infos = archive.infolist()
    for number in numbers:
        with archive.open(infos[number]) as member:
            while data := member.read(CHUNK):
                yield DATA + data
        yield END
