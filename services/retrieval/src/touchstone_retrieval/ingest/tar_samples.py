"""Which members of a shard are one sample.

An image's key is its name without the ending that the decoder knows: `scene.000.jpg` has the key `scene.000`.
WebDataset takes a name up to its first dot, so that `x.seg.png` and `x.jpg` are one sample. Both are served by one
rule: where a name continues the key of an image after a dot, it is a part of that image's sample. Beside `x.jpg`,
`x.seg.png` is a part of `x`; without it, an image with the key `x.seg`. The order of members decides nothing."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from touchstone_retrieval.ingest.reasons import Reasons
from touchstone_retrieval.ingest.tar_members import NO_FILES, Member, tar_members

IMAGE_ENDINGS = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif")
UNREAD_ENDINGS = ("heic", "heif", "jxl", "jp2", "jpx", "svg", "psd", "ppm", "pgm", "ico", "tga")
"""Of images that are not decoded here."""
PICTURES = (*IMAGE_ENDINGS, *UNREAD_ENDINGS)
"""Of several images with one key the one whose ending comes first here is taken."""
TEXT_ENDINGS = ("txt", "caption", "text")
COMPANIONS = (*TEXT_ENDINGS, "json", "cls")
MOST_DOTS = 16
"""Of a file name that are tried as the end of a key: a header may hold a name of a million dots."""

DUPLICATE, SECOND_IMAGE, UNREAD_FORMAT, BROKEN_LINK = (
    "duplicate_member", "second_image", "unread_format", "broken_link",
)  # fmt: skip
HIDDEN_FILE, PART_OF_SAMPLE, OTHER_FILE = "hidden_file", "part_of_sample", "other_file"

Members = dict[str, Member]
"""Ending -> member, of one sample."""


@dataclass(frozen=True)
class Samples:
    by_key: Mapping[str, Members]
    """In order of appearance, with those whose image is refused."""
    unused: Reasons = field(default_factory=Reasons)
    """Members that belong to no image."""


def index_samples(path: Path, location: str) -> Samples:
    """Every member is in a sample or among the unused. Raises as tar_members."""
    unused, found = Reasons(), list[tuple[str, str, Member]]()
    for member in _with_links(tar_members(path, location)):
        if member.reason in NO_FILES:
            unused.add(member.reason, member.name)
        elif is_hidden(member.name):
            unused.add(HIDDEN_FILE, member.name)
        else:
            found.append((*_stem_and_ending(member.name), member))
    images = {stem for stem, ending, _ in found if ending in PICTURES}
    samples: dict[str, Members] = defaultdict(dict)
    for stem, ending, member in found:
        if _continues(stem, images):
            unused.add(PART_OF_SAMPLE, member.name)
        elif ending or member.reason:
            _add(samples, stem, ending, member, unused)
        else:
            unused.add(OTHER_FILE, member.name)
    return Samples(dict(_with_one_image_each(samples)), unused)


def is_hidden(name: str) -> bool:
    """Of what systems leave behind, such as `._x.jpg`, `.DS_Store` and `__MACOSX/x.jpg`, and of what people hide."""
    parts = PurePosixPath(name).parts
    return "__MACOSX" in parts or (bool(parts) and parts[-1].startswith("."))


def _with_links(members: Iterable[Member]) -> Iterator[Member]:
    """Hard links as the members they name."""
    earlier: dict[str, Member] = {}
    for member in members:
        if member.same_as:
            same = earlier.get(_plain(member.same_as), Member("", 0, 0, BROKEN_LINK))
            member = replace(same, name=member.name)
        earlier[_plain(member.name)] = member
        yield member


def _plain(name: str) -> str:
    """Without `./` and the like."""
    return str(PurePosixPath(name))


def _stem_and_ending(name: str) -> tuple[str, str]:
    """The ending in small letters; the whole name and no ending where it is none that is known."""
    plain = _plain(name)
    stem, _, ending = plain.rpartition(".")
    known = ending.lower() in (*PICTURES, *COMPANIONS) and stem != "" and not stem.endswith("/")
    return (stem, ending.lower()) if known else (plain, "")


def _continues(name: str, images: set[str]) -> bool:
    """Whether the name is, up to one of its dots, the key of an image."""
    dot = name.rfind("/") + 1
    for _ in range(MOST_DOTS):
        dot = name.find(".", dot + 1)
        if dot < 0:
            return False
        if name[:dot] in images:
            return True
    return False


def _add(samples: dict[str, Members], key: str, ending: str, member: Member, unused: Reasons) -> None:
    members = samples[key]
    if ending not in members:
        unread = ending in UNREAD_ENDINGS and not member.reason
        members[ending] = replace(member, reason=UNREAD_FORMAT) if unread else member
        return
    # `x.JPG` and `x.jpg` are two images whichever comes first.
    first, second = sorted((members[ending], member), key=lambda each: _plain(each.name))
    members[ending] = first
    if ending in PICTURES and _plain(first.name) != _plain(second.name):
        _add(samples, _plain(second.name), ending, replace(second, reason=SECOND_IMAGE), unused)
    elif ending in PICTURES or ending == "cls":
        members[ending] = replace(first, reason=DUPLICATE)
    else:
        unused.add(DUPLICATE, second.name)


def _with_one_image_each(samples: Mapping[str, Members]) -> Iterator[tuple[str, Members]]:
    """Further images of a key are refused, each under its whole name."""
    for key, members in samples.items():
        _, *further = [ending for ending in PICTURES if ending in members] or [""]
        yield key, {ending: member for ending, member in members.items() if ending not in further}
        for ending in further:
            member = members[ending]
            yield _plain(member.name), {ending: replace(member, reason=member.reason or SECOND_IMAGE)}
