"""The members of a tar archive that nobody vouches for: sizes that cannot be, sparse files and damaged headers spoil
themselves alone, and no header makes memory grow.

Single headers are read by the standard library. Its TarFile follows them without bounds: it reads extended headers of
any size, calls itself for each, never gets past a negative size and writes out the zeros of sparse files."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tarfile import TarInfo
from typing import IO

from touchstone_retrieval.ingest.source import UnreadableSource

BLOCK = tarfile.BLOCKSIZE
MOST_EXTENDED_BYTES = 2**20
"""Of an extended header, which is read whole: names are far shorter."""
MOST_MEMBERS = 1_000_000
"""Their names and places are held in memory. Shards hold about ten thousand images."""
BLOCKS_AT_A_TIME = 2048
USTAR = b"ustar"
"""In every header but those of the oldest archives."""
LONG_NAME = tarfile.GNUTYPE_LONGNAME
PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
WITHOUT_EFFECT = (tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE)
"""What links lead to, and what is said of all members: neither decides an image."""
WITHOUT_DATA = (
    tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE,
)  # fmt: skip
DAMAGED, SPARSE = "damaged_member", "sparse_member"


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive."""

    name: str
    """As it stands there: bytes that are no UTF-8 are surrogates."""
    start: int
    size: int
    reason: str = ""
    """Why it cannot be read, or empty."""


def tar_members(path: Path, place: str) -> Iterator[Member]:
    """In the order of the archive. Raises UnreadableSource when it is no tar, is cut off or has too many members."""
    with path.open("rb") as file:
        for count, member in enumerate(_members(file, path.stat().st_size, place), 1):
            if count > MOST_MEMBERS:
                detail = f"{place} has more than {MOST_MEMBERS:,} members: make several shards of it"
                raise UnreadableSource(detail, code="too_many_members")
            yield member


def _members(file: IO[bytes], end: int, place: str) -> Iterator[Member]:
    position, said = 0, dict[str, str]()
    while (block := _block_at(file, position)) is not None:
        info, data = _header(block), position + BLOCK
        if info is None and position == 0:
            raise UnreadableSource(f"{place} is not a tar file: its first header is damaged")
        if info is None:
            if block[257:262] == USTAR:
                yield Member(f"damaged header at byte {position}", data, 0, DAMAGED)
            position, said = _header_after(file, data), {}
            continue
        size = _number(said["size"]) if "size" in said else info.size
        fits = 0 <= size <= end - data
        position = data + _padded(size) if fits else _header_after(file, data)
        if info.type in (LONG_NAME, *PAX, *WITHOUT_EFFECT):
            said |= _extended(file, info, data) if 0 <= info.size <= min(MOST_EXTENDED_BYTES, end - data) else {}
            continue
        name, sparse = said.get("path", info.name), info.issparse() or any(key.startswith("GNU.sparse") for key in said)
        said = {}
        if info.type in WITHOUT_DATA or name.endswith("/"):
            position = data if info.type in WITHOUT_DATA else position
        elif info.type == tarfile.GNUTYPE_SPARSE:
            # Further blocks of the header may follow, and are no data.
            position = _header_after(file, data)
            yield Member(name, data, 0, SPARSE)
        elif not fits and position == end and not _is_ended(file, end):
            raise UnreadableSource(f"{place} is not a whole tar file: it ends inside {name!r}")
        elif not fits or sparse:
            yield Member(name, data, 0, SPARSE if sparse else DAMAGED)
        else:
            yield Member(name, data, size)


def _block_at(file: IO[bytes], position: int) -> bytes | None:
    """None where the archive ends: at a block of zeros, or where there is none."""
    file.seek(position)
    block = file.read(BLOCK)
    return block if len(block) == BLOCK and any(block) else None


def _header(block: bytes) -> TarInfo | None:
    """None where the block is none, by its checksum."""
    try:
        return TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError, IndexError):
        return None


def _extended(file: IO[bytes], info: TarInfo, data: int) -> dict[str, str]:
    """What an extended header says of the member that follows."""
    file.seek(data)
    content = file.read(info.size)
    if info.type == LONG_NAME:
        return {"path": _text(content.partition(b"\0")[0])}
    return dict(_pax_records(content)) if info.type in PAX else {}


def _pax_records(content: bytes) -> Iterator[tuple[str, str]]:
    """Records `<length> <keyword>=<value>\\n`, as far as they are whole."""
    start = 0
    while start < len(content):
        length = _number(_text(content[start : start + 20].partition(b" ")[0]))
        record = content[start : start + length]
        if length < 5 or len(record) < length:
            return
        keyword, _, value = record.partition(b" ")[2].removesuffix(b"\n").partition(b"=")
        yield _text(keyword), _text(value)
        start += length


def _number(text: str) -> int:
    """-1 where it is none, or one that no file has as its size."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _header_after(file: IO[bytes], start: int) -> int:
    """Where the next header is, or else the end of the file."""
    file.seek(start)
    while blocks := file.read(BLOCKS_AT_A_TIME * BLOCK):
        for offset in range(0, len(blocks), BLOCK):
            block = blocks[offset : offset + BLOCK]
            if block[257:262] == USTAR and len(block) == BLOCK and _header(block) is not None:
                return start + offset
        start += len(blocks)
    return start


def _is_ended(file: IO[bytes], end: int) -> bool:
    """Whether two blocks of zeros mark the end, as they do where nothing was cut off."""
    file.seek(max(0, end - 2 * BLOCK))
    return not any(file.read())
