"""What every form of image source becomes: rows in a fixed order, each with its own key, caption or class."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from touchstone_contracts.problems import Invalid

from touchstone_retrieval.ingest.reasons import Reasons

SourceKind = Literal["upstream", "target"]

MOST_KEY_CHARACTERS = 4096
"""Longest path of Linux."""


class UnreadableSource(Invalid):
    code = "unreadable_source"
    title = "Unreadable image source"


@dataclass(frozen=True)
class SourceRow:
    key: str
    """Text that can be written as UTF-8: see clean_key."""
    image: bytes | None
    caption: str = ""
    class_id: int = -1
    cluster: str = ""
    reason: str = ""
    """Why there is no image; empty where there is one, or where none was given."""
    name: str = ""
    """What the account calls it; empty: by its key."""
    notes: tuple[str, ...] = ()
    """What else was lost, each in a word for the account, as `unreadable_caption`; the image is taken all the same."""


class ImageSource(Protocol):
    """A checked source: what it needs is there and it holds as many images as were registered."""

    @property
    def kind(self) -> SourceKind: ...

    @property
    def count(self) -> int: ...

    @property
    def unused(self) -> Reasons:
        """What lies in it and belongs to none of its rows: nothing is left out in silence."""

    def rows(self) -> Iterator[SourceRow]:
        """In the source's order; one whose class cannot be read has a reason and no image."""


def clean_key(key: str) -> str:
    """What cannot be written as UTF-8, such as the bytes of a file name in another encoding, is escaped."""
    return key[:MOST_KEY_CHARACTERS].encode("utf-8", "backslashreplace").decode()


def require_count(location: str, found: int, registered: int) -> None:
    """Raises UnreadableSource: a cut-off file must not pass for a smaller one."""
    if found != registered:
        raise UnreadableSource(
            f"{location} holds {found} images, registered were {registered}; describe it again if it has changed",
            code="wrong_image_count",
        )
