"""Servers answer for a dead link with a picture that says so. It is known by the many links that lead to it: of one
class while its links are fetched, of all classes by what the downloads of each have recorded."""

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image
from touchstone_contracts.identity import sha256
from touchstone_runtime.decoding import decode_image

PLACEHOLDER = "placeholder"
THUMBNAIL = 16
"""Pixels of a side, whatever the shape of the picture."""
MOST_DIFFERENCE = 16
"""Of 255, in any colour of any pixel of two thumbnails that show the same picture: copies in other sizes and formats
differ by a few levels, other pictures by far more."""
REACH = MOST_DIFFERENCE + 0.01
"""The same for means over many pixels, which are rounded."""
GREEN_OF_QUARTERS = [1, 4, 7, 10]
"""Of the twelve mean colours of a thumbnail's quarters: pictures are sorted into cells by these."""


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

    def thumbnail(self, number: int) -> bytes | None:
        """uint8 (THUMBNAIL, THUMBNAIL, 3) of the picture, or None where the number is none."""
        return None if number < 0 else self._thumbnails[number].astype(np.uint8).tobytes()

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


def placeholders_among(links: pa.Table, placeholder_links: int) -> set[str]:
    """sha256 of the images that are placeholders: of the link reports of several classes, those whose picture so many
    links lead to, of whichever classes."""
    links = links.filter(pc.is_valid(links["thumbnail"]))
    if links.num_rows == 0:
        return set()
    thumbnails = np.frombuffer(b"".join(links["thumbnail"].to_pylist()), np.uint8).reshape(links.num_rows, -1)
    urls, images = defaultdict(set), defaultdict(set)
    for picture, row in zip(alike(thumbnails), links.select(("url", "sha256")).to_pylist(), strict=True):
        urls[picture].add(row["url"])
        images[picture].add(row["sha256"])
    many = (picture for picture, leading in urls.items() if len(leading) >= placeholder_links)
    return {image for picture in many for image in images[picture] if image}


def alike(thumbnails: np.ndarray) -> list[int]:
    """The picture of each thumbnail, uint8 (n, THUMBNAIL x THUMBNAIL x 3), as the number of the darkest one that shows
    it."""
    different, inverse = np.unique(thumbnails, axis=0, return_inverse=True)
    order = np.argsort(_quarters(different).mean(axis=1), kind="stable")
    pixels, quarters = different[order], _quarters(different[order])
    cells = np.floor(quarters[:, GREEN_OF_QUARTERS] / REACH).astype(int)
    members = _by_cell(cells)
    picture = np.full(len(order), -1)
    for first in range(len(order)):
        if picture[first] < 0:
            # What is alike in every pixel is so in every quarter: it is in a cell beside, and the rest is not compared.
            around = product(*((side - 1, side, side + 1) for side in cells[first].tolist()))
            near = np.concatenate([members[cell] for cell in around if cell in members])
            near = near[(near >= first) & (picture[near] < 0)]
            near = near[(np.abs(quarters[near] - quarters[first]) <= REACH).all(axis=1)]
            differences = np.abs(pixels[near].astype(np.int16) - pixels[first])
            picture[near[(differences <= MOST_DIFFERENCE).all(axis=1)]] = first
    by_thumbnail = np.empty_like(picture)
    by_thumbnail[order] = picture
    found: list[int] = by_thumbnail[inverse.ravel()].tolist()
    return found


def _by_cell(cells: np.ndarray) -> dict[tuple[int, ...], np.ndarray]:
    """The numbers of the rows that are in each cell."""
    members = defaultdict(list)
    for number, cell in enumerate(map(tuple, cells.tolist())):
        members[cell].append(number)
    return {cell: np.array(numbers) for cell, numbers in members.items()}


def _quarters(thumbnails: np.ndarray) -> np.ndarray:
    """float32 (n, 12): the mean colour of each quarter."""
    half = THUMBNAIL // 2
    quarters = thumbnails.reshape(-1, 2, half, 2, half, 3).mean(axis=(2, 4), dtype=np.float32)
    return quarters.reshape(len(thumbnails), -1)


def thumbnail(image: bytes) -> np.ndarray:
    """int16 (THUMBNAIL x THUMBNAIL x 3,)."""
    small = decode_image(image).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.int16).ravel()
