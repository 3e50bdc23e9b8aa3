"""Decoding images from anywhere without trusting them, in the one way that all who look at pixels share.

Bytes that come in for the first time are decoded by `inspection`, in a process of its own; `decode_image` is for bytes
that passed there. Of workers alone: it needs the extra `images`."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import numpy as np
from PIL import Image, ImageFile, ImageOps
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
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
START_OF_SCAN = b"\xff\xda"
DEEP_MODES = ("I", "F")
"""What Pillow calls images of more than eight bits begins so."""
STRIP_PIXELS = 2**20
"""Converted at once, so that a deep image does not take several times its own memory."""


class UndecodableImage(Invalid):
    code = "undecodable_image"
    title = "Undecodable image"
    pixels = 0
    """As announced; 0 where the image could not be opened."""


def decode_image(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The first frame as RGB of eight bits: upright by its EXIF orientation, transparency over white, deeper values
    scaled as `_eight_bits` says. Raises UndecodableImage with the reason."""
    with opened_image(io.BytesIO(data), max_pixels) as image:
        image.load()
        return _over_white(_upright(_eight_bits(image)))


def inspect_image(file: IO[bytes]) -> tuple[int, int]:
    """Width and height, upright, of an image that decode_image will take. Raises UndecodableImage with the reason, and
    MemoryError. Takes less memory than decode_image: the colours of two pixels are converted."""
    with opened_image(file, MAX_PIXELS) as image:
        _require_shape(image)
        if image.info.get("progressive"):
            _require_few_scans(file)
        image.load()
        lying = _upright(_eight_bits(image).crop((0, 0, 2, 1)))
        _over_white(lying)
        return image.size if lying.width == 2 else (image.height, image.width)


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
    position = file.tell()
    file.seek(0)
    scans = file.read().count(START_OF_SCAN)
    file.seek(position)
    if scans > MAX_SCANS:
        raise UndecodableImage(f"JPEG has {scans} scans, {MAX_SCANS} at most are decoded", code="too_many_scans")


def _upright(image: Image.Image) -> Image.Image:
    """Metadata that cannot be read turns nothing."""
    try:
        return ImageOps.exif_transpose(image)
    except MemoryError:
        raise
    except Exception:
        return image


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey values of 16 bits are divided by 257. Floats and integers of 32 bits do not say what white is: values within
    [0, 1] (floats alone), [0, 255] or [0, 65535] are taken for fractions, 8 or 16 bits, others are stretched from their
    least to their greatest. Raises UndecodableImage where a value is not finite."""
    if not image.mode.startswith(DEEP_MODES):
        return image
    black, white = _range_of(image)
    grey, rows = Image.new("L", image.size), max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        strip = np.asarray(image.crop((0, top, image.width, min(top + rows, image.height)))).astype(np.float64)
        if not np.isfinite(strip).all():
            raise UndecodableImage("image holds values that are not finite")
        scaled = np.clip((strip - black) * (255 / (white - black)), 0, 255).round().astype(np.uint8)
        if isinstance(clear := image.info.get("transparency"), int):
            scaled[strip == clear] = 255
        grey.paste(Image.fromarray(scaled), (0, top))
    grey.info = {name: value for name, value in image.info.items() if name != "transparency"}
    return grey


def _range_of(image: Image.Image) -> tuple[float, float]:
    """The values that stand for black and white."""
    if image.mode.startswith("I;16"):
        return 0, 65535
    least, greatest = (float(value) for value in image.getextrema())  # type: ignore[arg-type]  # one band
    limits = (1, 255, 65535) if image.mode == "F" else (255, 65535)
    known = next((limit for limit in limits if least >= 0 and greatest <= limit), None)
    return (0, known) if known is not None else (least, max(greatest, least + 1))


def _over_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    canvas = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    canvas.alpha_composite(rgba)
    return canvas.convert("RGB")


# Truncated downloads are refused, not filled with grey.
assert not ImageFile.LOAD_TRUNCATED_IMAGES
