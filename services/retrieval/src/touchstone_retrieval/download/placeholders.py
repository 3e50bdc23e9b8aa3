"""Servers answer for a dead link with a picture that says so. It is known by the many links that lead to it."""

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
from PIL import Image
from touchstone_contracts.identity import sha256
from touchstone_runtime.decoding import decode_image

PLACEHOLDER = "placeholder"
THUMBNAIL = 16
"""Pixels of a side, whatever the shape of the picture."""
MOST_DIFFERENCE = 16
"""Of 255, in any colour of any pixel of two thumbnails that show the same picture: copies in other sizes and formats
differ by a few levels, other pictures by far more."""


@dataclass
class Pictures:
    """The pictures behind the links of a class. The same bytes are one picture, and so are near-identical ones."""

    placeholder_links: int | None
    """A picture behind so many links is a placeholder. None: none is."""
    _numbers: dict[str, int] = field(default_factory=dict)
    """By the sha256 of the bytes."""
    _thumbnails: list[np.ndarray] = field(default_factory=list)
    _links: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))

    def add(self, image: bytes, url: str) -> int:
        """The number of the picture that the bytes show; the bytes were found to be an image."""
        if self.placeholder_links is None:
            return -1
        digest = sha256(image)
        if digest not in self._numbers:
            self._numbers[digest] = self._number(thumbnail(image))
        number = self._numbers[digest]
        self._links[number].add(url)
        return number

    def is_placeholder(self, number: int) -> bool:
        return self.placeholder_links is not None and len(self._links[number]) >= self.placeholder_links

    def _number(self, new: np.ndarray) -> int:
        if self._thumbnails:
            # (pictures,): the greatest difference from each.
            differences = np.abs(np.stack(self._thumbnails) - new).max(axis=1)
            if differences.min() <= MOST_DIFFERENCE:
                return int(differences.argmin())
        self._thumbnails.append(new)
        return len(self._thumbnails) - 1


def thumbnail(image: bytes) -> np.ndarray:
    """int16 (THUMBNAIL x THUMBNAIL x 3,)."""
    small = decode_image(image).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.int16).ravel()
