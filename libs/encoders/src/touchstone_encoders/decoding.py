"""Decoding images from anywhere without trusting them."""

import io
import warnings

from PIL import Image, ImageFile
from touchstone_contracts.problems import Invalid

MAX_PIXELS = 40_000_000
"""Refused beyond this before decoding: a few kilobytes can unpack to gigabytes."""
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


class UndecodableImage(Invalid):
    code = "undecodable_image"
    title = "Undecodable image"


def decode_image(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The first frame as RGB, transparency over white. Raises UndecodableImage with the reason."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            if image.width * image.height > max_pixels:
                raise UndecodableImage(f"image has {image.width}x{image.height} pixels", code="too_large")
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UndecodableImage(f"cannot decode image: {error}") from error
    return _over_white(image)


def _over_white(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    rgba = image.convert("RGBA")
    canvas = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    canvas.alpha_composite(rgba)
    return canvas.convert("RGB")


# Truncated downloads are refused, not filled with grey.
assert not ImageFile.LOAD_TRUNCATED_IMAGES
