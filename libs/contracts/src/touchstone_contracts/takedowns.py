"""Images that must not be used any more, by request of somebody who may ask for that."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from pydantic import Field

from touchstone_contracts.identity import identity
from touchstone_contracts.values import Digest, Lenient


class Takedown(Lenient):
    """One request, about one image or several."""

    id: Digest
    images: tuple[Digest, ...] = ()
    """sha256 of their encoded bytes: those that were asked for, and those that were found under the keys."""
    keys: tuple[str, ...] = ()
    """Their keys in the sources; of a link its URL."""
    reason: str = Field(min_length=1, max_length=1000)
    at: datetime

    @classmethod
    def of(cls, images: Iterable[Digest], keys: Iterable[str], reason: str, at: datetime) -> "Takedown":
        asked = {"images": sorted(set(images)), "keys": sorted(set(keys))}
        return cls(id=identity(asked), reason=reason, at=at, images=tuple(asked["images"]), keys=tuple(asked["keys"]))

    @property
    def words(self) -> str:
        """For the readers of results that were computed with it."""
        return (
            f"These results were computed with an image that was taken down on {self.at:%Y-%m-%d} ({self.reason}). "
            "They stay as they were; without the image they might be others."
        )

    def with_images(self, images: Iterable[Digest]) -> "Takedown":
        """With those too that were found."""
        return self.model_copy(update={"images": tuple(sorted({*self.images, *images}))})


@dataclass(frozen=True)
class TakenDown:
    """All that was taken down, to be asked about many images."""

    images: frozenset[Digest] = frozenset()
    keys: frozenset[str] = frozenset()

    @classmethod
    def of(cls, takedowns: Iterable[Takedown]) -> "TakenDown":
        found = list(takedowns)
        return cls(
            frozenset(image for each in found for image in each.images),
            frozenset(key for each in found for key in each.keys),
        )

    def covers(self, image: Digest, key: str, parent: str = "") -> bool:
        """An image, or one that was made from it. `key`, `parent`: empty where there is none."""
        return image in self.images or (key != "" and key in self.keys) or (parent != "" and parent in self.images)
