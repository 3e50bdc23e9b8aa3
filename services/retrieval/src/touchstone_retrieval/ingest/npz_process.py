"""What the process does that reads `.npz` files which nobody vouches for: see array_files.

They are zip archives: a member of a few kilobytes may announce terabytes, and so may the header of an array."""

import json
import zipfile
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

NAMES, HEADER, DATA, ERROR = b"names   ", b"header  ", b"data    ", b"error   "
"""Kinds of answers, eight bytes each, so that what follows is aligned: a JSON list of names; a JSON object with
`dtype`, `shape` and `fortran`; bytes of whole rows; why the file cannot be read."""
KIND_BYTES = 8
ENDING = ".npy"
MOST_ARRAYS = 1000
CHUNK = 4 * 2**20
ENCRYPTED = 1
"""Flag of a member."""


def answers(request: memoryview) -> Iterator[bytes]:
    """`{"path"}`: the names of the arrays. `{"path", "array"}`: the header of one. With `rows`, the bytes of so many of
    its rows, `row_bytes` each."""
    asked: dict[str, Any] = json.loads(bytes(request))
    try:
        with zipfile.ZipFile(asked["path"]) as archive:
            if "array" not in asked:
                yield NAMES + json.dumps(_names(archive)).encode()
                return
            with archive.open(_member(archive, asked["array"])) as member:
                header = _header(member)
                yield from _rows(member, asked["rows"], asked["row_bytes"]) if "rows" in asked else [header]
    except MemoryError:
        raise
    except Exception as error:  # of a zip archive, of its codecs and of a header, which is Python
        yield ERROR + f"{type(error).__name__}: {error}"[:300].encode("utf-8", "replace")


def _names(archive: zipfile.ZipFile) -> list[str]:
    names = [name.removesuffix(ENDING) for name in archive.namelist() if name.endswith(ENDING)]
    if len(names) > MOST_ARRAYS:
        raise ValueError(f"{len(names)} arrays, {MOST_ARRAYS} at most are read")
    return names


def _member(archive: zipfile.ZipFile, array: str) -> zipfile.ZipInfo:
    found = [info for info in archive.infolist() if info.filename == array + ENDING]
    if len(found) != 1:
        raise ValueError(f"{len(found)} arrays are called {array}")
    if found[0].flag_bits & ENCRYPTED:
        raise ValueError(f"{array} is encrypted")
    return found[0]


def _header(member: IO[bytes]) -> bytes:
    version = np.lib.format.read_magic(member)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(member)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(member)
    else:
        raise ValueError(f"an array of version {version}")
    if dtype.hasobject or dtype.fields:
        raise ValueError(f"values of type {dtype}")
    return HEADER + json.dumps({"dtype": dtype.str, "shape": shape, "fortran": fortran}).encode()


def _rows(member: IO[bytes], rows: int, row_bytes: int) -> Iterator[bytes]:
    at_a_time = max(1, CHUNK // max(row_bytes, 1))
    for first in range(0, rows, at_a_time):
        wanted = min(at_a_time, rows - first) * row_bytes
        data = member.read(wanted)
        if len(data) < wanted:
            raise ValueError(f"it ends after {first} of {rows} rows")
        yield DATA + data
    if member.read(1):
        raise ValueError(f"it goes on behind its {rows} rows")
