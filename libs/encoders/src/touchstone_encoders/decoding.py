"""Decoding images from anywhere without trusting them.

Bytes that come in for the first time are decoded by `inspection`, in a process of its own; `decode_image` is for bytes
that passed there."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from PIL import Image, ImageFile
from touchstone_contracts.problems import Invalid

MAX_BYTES = 64 * 2**20
"""Of one encoded image."""
MAX_PIXELS = 40_000_000
"""Refused beyond this before decoding: a few kilobytes can unpack to gigabytes."""
MAX_ASPECT_RATIO = 100
"""Of the longer side to the shorter one. Models resize the shorter side to their own size: 250,000 x 1 pixels would
become 12 billion."""
MAX_SCANS = 100
"""Of a progressive JPEG, each of which takes as long as a whole image. Encoders write about ten."""
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
START_OF_SCAN = b"\xff\xda"


class UndecodableImage(Invalid):
    code = "undecodable_image"
    title = "Undecodable image"
    pixels = 0
    """As announced; 0 where the image could not be opened."""


def decode_image(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The first frame as RGB, transparency over white. Raises UndecodableImage with the reason."""
    with opened_image(io.BytesIO(data), max_pixels) as image:
        image.load()
        return _over_white(image)


def inspect_image(file: IO[bytes]) -> tuple[int, int]:
    """Width and height of an image that decode_image will take. Raises UndecodableImage with the reason, and
    MemoryError. Takes less memory than decode_image: the colours of one pixel are converted."""
    with opened_image(file, MAX_PIXELS) as image:
        _require_shape(image)
        if image.info.get("progressive"):
            _require_few_scans(file)
        image.load()
        _over_white(image.crop((0, 0, 1, 1)))
        return image.size


@contextmanager
def opened_image(file: IO[bytes], max_pixels: int) -> Iterator[Image.Image]:
    """Whatever Pillow raises meanwhile becomes UndecodableImage: plugins pass on what their arithmetic raises, such as
    a TypeError where a tag of a TIFF has another type than it should."""
    pixels = 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(file, formats=FORMATS)
            pixels = image.width * image.height
            if pixels > max_pixels:
                raise UndecodableImage(f"image has {image.width}x{image.height} pixels", code="too_large")
            yield image
    except (UndecodableImage, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UndecodableImage(str(error), code="too_large") from error
    except Exception as error:
        refusal = UndecodableImage(f"cannot decode image: {error}")
        refusal.pixels = pixels
        raise refusal from error


def _require_shape(image: Image.Image) -> None:
    shorter, longer = sorted(image.size)
    if longer > MAX_ASPECT_RATIO * shorter:
        size = f"{image.width}x{image.height}"
        detail = f"image has {size} pixels; the longer side may be {MAX_ASPECT_RATIO} times the shorter one at most"
        raise UndecodableImage(detail, code="too_elongated")


def _require_few_scans(file: IO[bytes]) -> None:
    """The marker cannot occur in compressed data, and seldom in metadata."""
    place = file.tell()
    file.seek(0)
    scans = file.read().count(START_OF_SCAN)
    file.seek(place)
    if scans > MAX_SCANS:
        raise UndecodableImage(f"JPEG has {scans} scans, {MAX_SCANS} at most are decoded", code="too_many_scans")


def _over_white(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    rgba = image.convert("RGBA")
    canvas = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    canvas.alpha_composite(rgba)
    return canvas.convert("RGB")


# Truncated downloads are refused, not filled with grey.
assert not ImageFile.LOAD_TRUNCATED_IMAGES
