"""Pixels to files: lossless PNG, the same bytes for the same pixels."""

import io

import numpy as np
from PIL import Image


def encode_png(pixels: np.ndarray) -> bytes:
    """uint8 (height, width, 3) -> PNG without metadata."""
    buffer = io.BytesIO()
    Image.fromarray(pixels, "RGB").save(buffer, format="PNG")
    return buffer.getvalue()
