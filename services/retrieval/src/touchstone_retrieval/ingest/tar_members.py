"""The members of a tar archive that nobody vouches for: sizes that cannot be, sparse files and damaged headers spoil
themselves alone, and no header makes memory grow.

Single headers are read by the standard library. Its TarFile follows them without bounds: it reads extended headers of
any size, calls itself for each, never gets past a negative size and writes out the zeros of sparse files. It also stops
at the first zeros, behind which the second of two joined archives lies."""

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
"""Of a shard. Their names and byte offsets are held in memory. Shards hold about ten thousand images."""
BLOCKS_AT_A_TIME = 2048
USTAR = b"ustar"
"""In every header but those of the oldest archives."""
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
"""First bytes of a file -> what it is compressed by."""
PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
LONG = {tarfile.GNUTYPE_LONGNAME: "path", tarfile.GNUTYPE_LONGLINK: "linkpath"}
"""Types of GNU's extended headers -> what they say."""
GLOBAL = tarfile.XGLTYPE
"""What is said of all members decides no image."""
SAID = ("path", "linkpath", "size")
SPARSE_KEYWORD = "GNU.sparse"

DAMAGED, SPARSE = "damaged_member", "sparse_member"
SYMBOLIC_LINK, SPECIAL_FILE = "symbolic_link", "special_file"
FOLDER, TRAILING_BYTES, NO_END_MARKER = "folder", "trailing_bytes", "no_end_marker"
NO_FILES = (FOLDER, TRAILING_BYTES, NO_END_MARKER)
"""Reasons of what is in an archive and is no file that anybody put there."""
_WITHOUT_DATA = {
    tarfile.LNKTYPE: "",
    tarfile.SYMTYPE: SYMBOLIC_LINK,
    tarfile.CHRTYPE: SPECIAL_FILE,
    tarfile.BLKTYPE: SPECIAL_FILE,
    tarfile.FIFOTYPE: SPECIAL_FILE,
    tarfile.DIRTYPE: FOLDER,
}


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive."""

    name: str
    """As it stands there: bytes that are no UTF-8 are surrogates."""
    start: int
    size: int
    reason: str = ""
    """Why it cannot be read, or empty."""
    same_as: str = ""
    """Of a hard link: the name of the earlier member whose bytes it has."""


def tar_members(path: Path, location: str) -> Iterator[Member]:
    """In the order of the archive, with all it holds, of joined archives too. What cannot be read has a reason.

    Raises UnreadableSource when it is no tar, is cut off within a member or has too many members."""
    with path.open("rb") as file:
        _require_tar(file.read(BLOCK), location)
        for count, member in enumerate(_members(file, path.stat().st_size, location), 1):
            if count > MOST_MEMBERS:
                detail = f"{location} has more than {MOST_MEMBERS:,} members: make several shards of it"
                raise UnreadableSource(detail, code="too_many_members")
            yield member


def _require_tar(first: bytes, location: str) -> None:
    for magic, by in COMPRESSED.items():
        if first.startswith(magic):
            detail = f"{location} is compressed by {by}, and images are read in any order: unpack it to a plain .tar"
            raise UnreadableSource(detail, code="compressed_tar")
    if any(first) and (len(first) < BLOCK or _header(first) is None):
        raise UnreadableSource(f"{location} is not a tar file: its first header is damaged")


def _members(file: IO[bytes], end: int, location: str) -> Iterator[Member]:
    position, said, ended = 0, dict[str, str](), False
    while (block := _block_at(file, position)) is not None:
        if not any(block):
            position, ended = _after_zeros(file, position), True
            continue
        info, data = _header(block), position + BLOCK
        if info is None:
            found = _header_after(file, data)
            if found <= end - BLOCK or block[257:262] == USTAR or not ended:
                yield Member(f"damaged header at byte {position}", data, 0, DAMAGED)
            else:
                yield Member(f"bytes behind the end at byte {position}", data, 0, TRAILING_BYTES)
            position, said = found, {}
            continue
        ended = False
        size = _number(said["size"]) if "size" in said else info.size
        fits = 0 <= size <= end - data
        position = data + _padded(size) if fits else _header_after(file, data)
        if info.type in (*LONG, *PAX, GLOBAL):
            said |= _extended(file, info, data) if 0 <= info.size <= min(MOST_EXTENDED_BYTES, end - data) else {}
            continue
        name, sparse = said.get("path", info.name), info.issparse() or SPARSE_KEYWORD in said
        link, said = said.get("linkpath", info.linkname), {}
        if info.type in _WITHOUT_DATA:
            position = data
            yield Member(name, data, 0, _WITHOUT_DATA[info.type], link if info.type == tarfile.LNKTYPE else "")
        elif name.endswith("/"):
            yield Member(name, data, 0, FOLDER)
        elif info.type == tarfile.GNUTYPE_SPARSE:
            # Further blocks of the header may follow, and are no data.
            position = _header_after(file, data)
            yield Member(name, data, 0, SPARSE)
        elif not fits and position == end and not _is_ended(file, end):
            raise UnreadableSource(f"{location} is not a whole tar file: it ends inside {name!r}")
        elif not fits or sparse:
            yield Member(name, data, 0, SPARSE if sparse else DAMAGED)
        else:
            yield Member(name, data, size)
    if not ended:
        yield Member(f"end at byte {end}", end, 0, NO_END_MARKER)


def _block_at(file: IO[bytes], position: int) -> bytes | None:
    """None where the file ends."""
    file.seek(position)
    block = file.read(BLOCK)
    return block if len(block) == BLOCK else None


def _after_zeros(file: IO[bytes], start: int) -> int:
    """Where the next block is that holds anything, or else the end of the file."""
    file.seek(start)
    while blocks := file.read(BLOCKS_AT_A_TIME * BLOCK):
        if left := blocks.lstrip(b"\0"):
            return start + (len(blocks) - len(left)) // BLOCK * BLOCK
        start += len(blocks)
    return start


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
    if info.type in LONG:
        return {LONG[info.type]: _text(content.partition(b"\0")[0])}
    return dict(_pax_records(content)) if info.type in PAX else {}


def _pax_records(content: bytes) -> Iterator[tuple[str, str]]:
    """Records `<length> <keyword>=<value>\\n`, as far as they are whole; of those in SAID, and whether any makes the
    member a sparse file."""
    start = 0
    while start < len(content):
        length = _number(_text(content[start : start + 20].partition(b" ")[0]))
        record = content[start : start + length]
        if length < 5 or len(record) < length:
            return
        keyword, _, value = record.partition(b" ")[2].removesuffix(b"\n").partition(b"=")
        if keyword.startswith(SPARSE_KEYWORD.encode()):
            yield SPARSE_KEYWORD, ""
        elif (known := _text(keyword)) in SAID:
            yield known, _text(value)
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
