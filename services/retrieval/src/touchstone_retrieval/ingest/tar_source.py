"""Reading one WebDataset shard: members that share a name up to the first dot are one sample. Nothing is unpacked."""

import json
import tarfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from touchstone_contracts.catalogue import TarShard

from touchstone_retrieval.ingest.captions import clean_caption
from touchstone_retrieval.ingest.source import SourceKind, SourceRow, UnreadableSource, require_count

IMAGE_ENDINGS = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff")

Members = Mapping[str, tarfile.TarInfo]
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
        with tarfile.open(self.path, "r:") as tar:
            for key, members in self.samples.items():
                files = {ending: _read(tar, member) for ending, member in members.items()}
                yield SourceRow(
                    key=key,
                    image=next((files[ending] or None for ending in IMAGE_ENDINGS if ending in files), None),
                    caption=_caption(files),
                    class_id=_class_id(key, files) if self.kind == "target" else -1,
                )


def open_tar(path: Path, shard: TarShard) -> TarSource:
    """Raises UnreadableSource when it is no tar, is cut off, names a file twice or holds another number of samples."""
    samples = index_samples(path, shard.location)
    require_count(shard.location, len(samples), shard.images)
    labelled = any("cls" in members for members in samples.values())
    return TarSource("target" if labelled else "upstream", path, samples)


def index_samples(path: Path, place: str) -> dict[str, dict[str, tarfile.TarInfo]]:
    """By key, in order of appearance."""
    samples: dict[str, dict[str, tarfile.TarInfo]] = defaultdict(dict)
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if member.isfile():
                    key, ending = _key_and_ending(member.name)
                    if ending in samples[key]:
                        raise UnreadableSource(f"{place} holds {member.name} twice", code="duplicate_member")
                    samples[key][ending] = member
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UnreadableSource(f"{place} is not a whole tar file: {error}") from error
    return dict(samples)


def _key_and_ending(name: str) -> tuple[str, str]:
    path = PurePosixPath(name)
    stem, _, ending = path.name.partition(".")
    return str(path.with_name(stem)) if stem else name, ending.lower()


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    try:
        stream = tar.extractfile(member)
        assert stream is not None  # only regular files are indexed
        return stream.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UnreadableSource(f"tar member {member.name} is damaged: {error}") from error


def _caption(files: Mapping[str, bytes]) -> str:
    """The `.txt`, else `caption` or `text` of the `.json`; a description that cannot be read loses no image."""
    if "txt" in files:
        return clean_caption(files["txt"])
    try:
        described = json.loads(files.get("json", b"{}").decode("utf-8", errors="replace"))
    except ValueError:
        return ""
    return clean_caption(described.get("caption", described.get("text"))) if isinstance(described, dict) else ""


def _class_id(key: str, files: Mapping[str, bytes]) -> int:
    label = files.get("cls", b"").strip()
    if not label.isdigit():
        raise UnreadableSource(f"sample {key} has class {label!r}, not 0, 1, 2, ... in a .cls", code="bad_class_id")
    return int(label)
