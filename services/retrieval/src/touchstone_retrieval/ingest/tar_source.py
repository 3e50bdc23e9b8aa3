"""Reading one WebDataset shard: a row for each sample of its index. Nothing is unpacked."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from touchstone_contracts.catalogue import TarShard
from touchstone_runtime.decoding import MAX_BYTES

from touchstone_retrieval.ingest.captions import (
    MOST_CAPTION_BYTES,
    MOST_JSON_BYTES,
    UNREADABLE_CAPTION,
    caption_in,
    clean_caption,
    parsed_json,
)
from touchstone_retrieval.ingest.labels import Labels, plain_label
from touchstone_retrieval.ingest.reasons import Reasons
from touchstone_retrieval.ingest.source import SourceKind, SourceRow, clean_key, require_count
from touchstone_retrieval.ingest.tar_members import Member
from touchstone_retrieval.ingest.tar_samples import PICTURES, TEXT_ENDINGS, Members, Samples, index_samples

MOST_CLASS_BYTES = 12
LABEL = "cls"
UNUSED_LABEL = "unused_label"
"""Note: a class is given for an image of an upstream, which has none."""


@dataclass(frozen=True)
class TarSource:
    """An indexed shard: the headers have been read to the end."""

    kind: SourceKind
    """Of a `target` every sample needs a `.cls`."""
    path: Path
    samples: Mapping[str, Members]
    labels: Labels
    unused: Reasons = field(default_factory=Reasons)

    @property
    def count(self) -> int:
        return len(self.samples)

    def rows(self) -> Iterator[SourceRow]:
        with self.path.open("rb") as file:
            for key, members in self.samples.items():
                yield self._row(file, clean_key(key), members)

    def _row(self, file: IO[bytes], key: str, members: Members) -> SourceRow:
        picture = next((members[ending] for ending in PICTURES if ending in members), None)
        if reason := _refused(picture, members):
            return SourceRow(key, None, reason=reason)
        if picture is None:
            return SourceRow(key, None)
        class_id = self._class_id(file, members.get(LABEL))
        if isinstance(class_id, str):
            return SourceRow(key, None, reason=class_id)
        caption, notes = _caption(file, members)
        image = _read(file, picture, MAX_BYTES) or None
        return SourceRow(key=key, image=image, caption=caption, class_id=class_id, notes=notes)

    def _class_id(self, file: IO[bytes], label: Member | None) -> int | str:
        """The id, or why there is none."""
        if self.kind != "target":
            return -1
        return self.labels.class_id("" if label is None else plain_label(_read(file, label, MOST_CLASS_BYTES)))


def open_tar(path: Path, shard: TarShard, classes: int | None = None, *, labels_as_found: bool = False) -> TarSource:
    """`classes`, `labels_as_found`: see IngestImages.

    Raises UnreadableSource when it is no tar, is cut off or holds another number of samples."""
    samples = index_samples(path, shard.location)
    require_count(shard.location, len(samples.by_key), shard.images)
    labelled = any(LABEL in members for members in samples.by_key.values())
    if classes is not None or (labels_as_found and labelled):
        return TarSource("target", path, samples.by_key, Labels({}, classes), samples.unused)
    note_labels(samples)
    return TarSource("upstream", path, samples.by_key, Labels({}, None), samples.unused)


def note_labels(samples: Samples) -> None:
    """Of an upstream: its classes are of no use."""
    for members in samples.by_key.values():
        if LABEL in members:
            samples.unused.add(UNUSED_LABEL, members.pop(LABEL).name)


def _refused(picture: Member | None, members: Members) -> str:
    """Why a sample cannot be used, or empty. What describes an image may be damaged, its class may not."""
    needed = members.values() if picture is None else (picture, members.get(LABEL, picture))
    if reason := next((member.reason for member in needed if member.reason), ""):
        return reason
    return "too_many_bytes" if picture is not None and picture.size > MAX_BYTES else ""


def _read(file: IO[bytes], member: Member, most: int) -> bytes:
    """Its first `most` bytes."""
    file.seek(member.start)
    return file.read(min(member.size, most))


def _caption(file: IO[bytes], members: Members) -> tuple[str, tuple[str, ...]]:
    """The first that is not blank of the texts beside the image, else the one in its `.json`, and what is to be noted;
    a description that cannot be read loses no image."""
    read = [_text(file, members[ending]) for ending in TEXT_ENDINGS if ending in members]
    if "json" in members and not any(read):
        read.append(_described(file, members["json"]))
    caption = next((text for text in read if text), "")
    return caption, (UNREADABLE_CAPTION,) if not caption and None in read else ()


def _text(file: IO[bytes], member: Member) -> str | None:
    return None if member.reason else clean_caption(_read(file, member, MOST_CAPTION_BYTES))


def _described(file: IO[bytes], member: Member) -> str | None:
    try:
        return None if member.reason else caption_in(parsed_json(_read(file, member, MOST_JSON_BYTES + 1)))
    except ValueError:
        return None
