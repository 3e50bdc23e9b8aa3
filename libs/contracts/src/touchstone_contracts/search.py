"""Searching an upstream by words, by an image, or for more images like one of its own: what is asked and found."""

import base64
import binascii
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationInfo, field_validator, model_validator

from touchstone_contracts.values import Digest, Lenient, Posted

MOST_TEXT = 1000
"""Characters of a text that is searched for."""
MOST_RESULTS = 100
MOST_IMAGE_BYTES = 4 * 2**20
"""Of an encoded image that is searched for."""
MOST_IMAGE_LETTERS = -(-MOST_IMAGE_BYTES // 3) * 4
"""The same in base64."""
MOST_CAPTION = 1000
"""Characters of a caption that are told; the rest is cut."""
MOST_IMAGE_ID = 200

SearchIn = Literal["images", "captions", "words"]
"""`images`, `captions`: nearest embeddings of the images, or of their captions. `words`: captions that hold all words
of a text, in the upstream's order."""
ImageId = Annotated[str, StringConstraints(min_length=1, max_length=MOST_IMAGE_ID)]
"""As in a manifest: the sha256 of an image's bytes; of a link what its table says, or the sha256 of its URL."""


class UpstreamSearch(Posted):
    """A search of an upstream. Exactly one of `text`, `image` and `like` says what is searched for."""

    text: Annotated[str, StringConstraints(min_length=1, max_length=MOST_TEXT, strip_whitespace=True)] | None = None
    """Words, or a sentence. An encoder reads its first tokens, 77 of CLIP's."""
    image: Annotated[str, StringConstraints(max_length=MOST_IMAGE_LETTERS)] | None = None
    """An encoded image (JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF) in base64, at most 4 MiB of bytes."""
    like: ImageId | None = None
    """The id of an image of the upstream, as results tell it: finds it and more images like it."""
    search_in: SearchIn = "images"
    """What is searched: embeddings of `images` or of `captions`, or captions that hold all `words` of the text."""
    limit: int = Field(default=12, ge=1, le=MOST_RESULTS)
    """Most images that are found."""

    @field_validator("image")
    @classmethod
    def _decodes(cls, image: str | None) -> str | None:
        if image is None:
            return None
        try:
            data = base64.b64decode(image, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("the image is not in base64 (RFC 4648, without line breaks)") from None
        if not data:
            raise ValueError("the image has no bytes")
        return base64.b64encode(data).decode()  # what decodes alike is the same search

    @field_validator("search_in")
    @classmethod
    def _words_are_of_a_text(cls, search_in: SearchIn, info: ValidationInfo) -> SearchIn:
        if search_in == "words" and info.data.get("text", "") is None:
            raise ValueError("words are searched for with a text; search for an image in `images` or `captions`")
        return search_in

    @model_validator(mode="after")
    def _asks_for_one_thing(self) -> "UpstreamSearch":
        asked = [name for name in ("text", "image", "like") if getattr(self, name) is not None]
        if len(asked) != 1:
            said = " and ".join(asked) or "nothing"
            raise ValueError(f"say what to search for by exactly one of text, image and like; this says {said}")
        return self


class SearchHit(Lenient):
    """An image that was found, and where its bytes lie."""

    image: str
    """See ImageId."""
    score: float | None
    """Cosine between the query and what was searched, rounded to 6 decimals; None of words."""
    caption: str
    source_key: str
    """Key in the source; of a link its URL."""
    shard: Digest | None = None
    """The tar that holds the bytes; None of a link."""
    offset: int = 0
    length: int = 0
