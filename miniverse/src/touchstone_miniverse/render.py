"""Drawings to pixels: SVG or PNG to a 64x64 lossless WebP on white."""

import io

import resvg_py
from PIL import Image

SIDE = 64
# Rendered at twice the size and averaged down: thin lines of small icons survive.
OVERSAMPLING = 2


def svg_of_icon(body: str, left: float, top: float, width: float, height: float) -> str:
    """A whole SVG document around an iconify icon body; the drawing is centred in a square."""
    box = f"{left} {top} {width} {height}"
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{box}" width="{SIDE}" height="{SIDE}">{body}</svg>'
    )


def render_svg(svg: str) -> bytes | None:
    """WebP bytes of an SVG document, or None where the renderer refuses it or the result is one colour."""
    side = SIDE * OVERSAMPLING
    try:
        png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=side, height=side, skip_system_fonts=True))
    except ValueError:
        return None
    return encode(Image.open(io.BytesIO(png)))


def encode(image: Image.Image) -> bytes | None:
    """Lossless WebP, (64, 64) RGB on white, of any picture (letterboxed); None for a picture of one colour."""
    square = _on_white(image).resize((SIDE, SIDE), Image.Resampling.BOX, reducing_gap=None)
    if all(low == high for low, high in square.getextrema()):  # type: ignore[misc]  # RGB: one pair per band
        return None
    buffer = io.BytesIO()
    square.save(buffer, "WEBP", lossless=True, quality=75, method=4)
    return buffer.getvalue()


def decode(content: bytes) -> Image.Image:
    """RGB picture of encoded bytes."""
    return Image.open(io.BytesIO(content)).convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    picture = image.convert("RGBA")
    side = max(picture.size)
    canvas = Image.new("RGBA", (side, side), "white")
    canvas.alpha_composite(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return canvas.convert("RGB")
