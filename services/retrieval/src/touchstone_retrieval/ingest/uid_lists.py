"""Lists of uids: which rows of a table belong to an upstream.

A uid is 128 bits, written as 32 hexadecimal digits. In arrays here it is 16 bytes, the first digits first."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from touchstone_retrieval.ingest.array_files import NotAnArray, stored_array
from touchstone_retrieval.ingest.link_rows import LinkRows, Part
from touchstone_retrieval.ingest.parquet_reading import Lost
from touchstone_retrieval.ingest.source import UnreadableSource

UID = np.dtype("S16")
"""Compared as bytes; all are of one length, so that zeros at their end count."""
UIDS_AT_A_TIME = 1_000_000
MOST_LINE = 1000
"""Bytes; the rest of a longer line is another one, and no uid either."""
MOST_COUNTED = 50_000_000
"""Of the uids of a list for which it is told how many are in no table: each takes 17 bytes of memory."""
_MAGIC = b"\x93NUMPY"
_HEX = re.compile(r"[0-9a-f]{32}")
_HEADER = "uid"


def uids_of(table: LinkRows) -> tuple[np.ndarray, np.ndarray]:
    """By row: UID (rows,), and bool (rows,), whether there is one."""
    parts = [_of_part(part, table) for part in table.parts(("uid",))]
    uids = np.concatenate([np.zeros(0, UID), *(found for found, _ in parts)])
    return uids, np.concatenate([np.zeros(0, bool), *(known for _, known in parts)])


def _of_part(part: Part, table: LinkRows) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(part, Lost):
        return np.zeros(part.num_rows, UID), np.zeros(part.num_rows, bool)
    (column,) = table.columns["uid"]
    found = [uid_bytes(row.values[column]) for row in part]
    return np.array([uid or b"" for uid in found], UID), np.array([uid is not None for uid in found])


def uid_bytes(value: object) -> bytes | None:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    text = text.strip().lower()
    return bytes.fromhex(text) if _HEX.fullmatch(text) else None


def listed_uids(path: Path, location: str) -> Iterator[np.ndarray]:
    """UID arrays of at most UIDS_AT_A_TIME, in the order of the list. Raises UnreadableSource where it is none."""
    with path.open("rb") as file:
        is_array = file.read(len(_MAGIC)) == _MAGIC
    return _in_array(path, location) if is_array else _in_lines(path, location)


def _in_array(path: Path, location: str) -> Iterator[np.ndarray]:
    try:
        stored = stored_array(path, None)
        fields = [stored.dtype[name] for name in stored.dtype.names or ()]
        if fields != [np.dtype("<u8")] * 2 or len(stored.shape) != 1:
            raise NotAnArray(f"holds {stored.dtype} of shape {stored.shape}, not uids (one dimension of dtype u8,u8)")
        for part in stored.parts():
            yield np.stack([part[name] for name in stored.dtype.names or ()], axis=1).astype(">u8").view(UID).ravel()
    except NotAnArray as error:
        raise UnreadableSource(f"{location} {error}") from error


def _in_lines(path: Path, location: str) -> Iterator[np.ndarray]:
    with path.open("rb") as file:
        found: list[bytes] = []
        for number, line in enumerate(iter(lambda: file.readline(MOST_LINE), b""), 1):
            text = line.decode("utf-8-sig", "replace").strip().strip('"')
            uid = uid_bytes(text)
            if uid is not None:
                found.append(uid)
            elif text and not (number == 1 and text.lower() == _HEADER):
                raise UnreadableSource(
                    f"line {number} of {location} is {text[:40]!r}; a list of uids has 32 hexadecimal digits per line"
                )
            if len(found) == UIDS_AT_A_TIME:
                yield np.array(found, UID)
                found = []
        yield np.array(found, UID)


def listed_among(table: LinkRows, path: Path, location: str) -> np.ndarray:
    """bool (rows,): which rows of the table the list names. Raises UnreadableSource."""
    uids, known = uids_of(table)
    listed = np.zeros(len(uids), bool)
    for part in listed_uids(path, location):
        listed |= np.isin(uids, part)
    return listed & known


class NamedInTables:
    """How many uids of a list are in some table, table by table. Of more than MOST_COUNTED none is counted."""

    def __init__(self, path: Path, location: str) -> None:
        """Raises UnreadableSource where it is no list."""
        found = [np.zeros(0, UID)]
        for part in listed_uids(path, location):
            found.append(part)
            if sum(map(len, found)) > MOST_COUNTED:
                found = [np.zeros(0, UID)]
                break
        self._uids = np.unique(np.concatenate(found))
        self._found = np.zeros(len(self._uids), bool)

    def add(self, table: LinkRows) -> None:
        uids, known = uids_of(table)
        self._found |= np.isin(self._uids, uids[known])

    @property
    def count(self) -> int:
        """Different ones."""
        return len(self._uids)

    @property
    def absent(self) -> int:
        """Those that were in no table."""
        return int((~self._found).sum())
