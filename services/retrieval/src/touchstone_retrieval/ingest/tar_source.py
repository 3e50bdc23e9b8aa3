"""Reading one WebDataset shard: members that share a name up to the first dot are one sample. Nothing is unpacked."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO

from touchstone_contracts.catalogue import TarShard
from touchstone_runtime.decoding import MAX_BYTES

from touchstone_retrieval.ingest.captions import MOST_CAPTION_BYTES, clean_caption
from touchstone_retrieval.ingest.source import SourceKind, SourceRow, UnreadableSource, clean_key, require_count
from touchstone_retrieval.ingest.tar_members import Member, tar_members

IMAGE_ENDINGS = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff")
MOST_JSON_BYTES = 2**20
MOST_CLASS_BYTES = 12

Members = Mapping[str, Member]
"""Ending -> member, of one sample."""


@dataclass(frozen=True)
class TarSource:
    """An indexed shard: the headers have been read to the end."""

    kind: SourceKind
    """`target` where some sample has a `.cls`: then every sample needs one."""
    path: Path
    samples: Mapping[str, Members]

    @property
    def count(self) -> int:
        return len(self.samples)

    def rows(self) -> Iterator[SourceRow]:
        with self.path.open("rb") as file:
            for key, members in self.samples.items():
                yield self._row(file, clean_key(key), members)

    def _row(self, file: IO[bytes], key: str, members: Members) -> SourceRow:
        picture = next((members[ending] for ending in IMAGE_ENDINGS if ending in members), None)
        label = members.get("cls")
        if reason := _refused(picture, members):
            return SourceRow(key, None, reason=reason)
        return SourceRow(
            key=key,
            image=None if picture is None else _read(file, picture, MAX_BYTES) or None,
            caption=_caption(file, members),
            class_id=_class_id(key, b"" if label is None else _read(file, label, MOST_CLASS_BYTES))
            if self.kind == "target"
            else -1,
        )


def open_tar(path: Path, shard: TarShard) -> TarSource:
    """Raises UnreadableSource when it is no tar, is cut off or holds another number of samples."""
    samples = index_samples(path, shard.location)
    require_count(shard.location, len(samples), shard.images)
    labelled = any("cls" in members for members in samples.values())
    return TarSource("target" if labelled else "upstream", path, samples)


def index_samples(path: Path, place: str) -> dict[str, dict[str, Member]]:
    """By key, in order of appearance."""
    samples: dict[str, dict[str, Member]] = defaultdict(dict)
    for member in tar_members(path, place):
        key, ending = _key_and_ending(member.name)
        again = ending in samples[key]
        samples[key][ending] = replace(member, reason="duplicate_member") if again else member
    return dict(samples)


def _key_and_ending(name: str) -> tuple[str, str]:
    path = PurePosixPath(name)
    stem, _, ending = path.name.partition(".")
    return str(path.with_name(stem)) if stem else name, ending.lower()


def _refused(picture: Member | None, members: Members) -> str:
    """Why a sample cannot be used, or empty. What describes an image may be damaged, its class may not."""
    needed = members.values() if picture is None else (picture, members.get("cls", picture))
    if reason := next((member.reason for member in needed if member.reason), ""):
        return reason
    return "too_many_bytes" if picture is not None and picture.size > MAX_BYTES else ""


def _read(file: IO[bytes], member: Member, most: int) -> bytes:
    """Its first `most` bytes."""
    file.seek(member.start)
    return file.read(min(member.size, most))


def _caption(file: IO[bytes], members: Members) -> str:
    """The `.txt`, else `caption` or `text` of the `.json`; a description that cannot be read loses no image."""
    if text := members.get("txt"):
        return clean_caption(_read(file, text, MOST_CAPTION_BYTES))
    described = members.get("json")
    if described is None or described.size > MOST_JSON_BYTES:
        return ""
    try:
        said = json.loads(_read(file, described, MOST_JSON_BYTES).decode("utf-8", errors="replace"))
        return clean_caption(said.get("caption", said.get("text"))) if isinstance(said, dict) else ""
    except (ValueError, RecursionError):  # brackets within brackets, numbers of thousands of digits
        return ""


def _class_id(key: str, label: bytes) -> int:
    label = label.strip()
    if not label.isdigit():
        raise UnreadableSource(f"sample {key} has class {label!r}, not 0, 1, 2, ... in a .cls", code="bad_class_id")
    return int(label)
