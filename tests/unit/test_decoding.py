"""One way to look at an image: depth, transparency and orientation, the same for all who decode it."""

import io
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.hostile_images import encoded, png, png_chunk
from touchstone.grid import _over_white as in_a_grid
from touchstone_generator.sampling.img2img import squash
from touchstone_runtime.decoding import UndecodableImage, decode_image
from touchstone_runtime.inspection import inspector
from touchstone_trainer.pixels import decode_pixels

WHITE = (255, 255, 255)
ORIENTATION = 0x0112


def deep(values: Any, kind: str, form: str = "PNG") -> bytes:
    return encoded(Image.fromarray(np.asarray(values, dtype=kind)), form)


def grey(data: bytes) -> list[list[int]]:
    """The values of an image that has no colour."""
    pixels = np.asarray(decode_image(data))
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0].tolist()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(deep([[0, 257, 32768, 65535]], "<u2"), [[0, 1, 128, 255]], id="16 bits, PNG"),
        pytest.param(deep([[0, 257, 32768, 65535]], "<u2", "TIFF"), [[0, 1, 128, 255]], id="16 bits, TIFF"),
        pytest.param(deep([[0, 257, 32768, 65535]], ">u2", "TIFF"), [[0, 1, 128, 255]], id="16 bits, big-endian"),
        pytest.param(deep([[100, 200]], "<u2"), [[0, 1]], id="16 bits, dark: still 16 bits"),
        pytest.param(deep([[0.0, 0.5, 1.0]], "f4", "TIFF"), [[0, 128, 255]], id="fractions"),
        pytest.param(deep([[0.0, 128.0, 255.0]], "f4", "TIFF"), [[0, 128, 255]], id="floats of 8 bits"),
        pytest.param(deep([[0.0, 32768.0, 65535.0]], "f4", "TIFF"), [[0, 128, 255]], id="floats of 16 bits"),
        pytest.param(deep([[-1.0, 0.0, 1.0]], "f4", "TIFF"), [[0, 128, 255]], id="floats of another range"),
        pytest.param(deep([[1e9, 1e9]], "f4", "TIFF"), [[0, 0]], id="floats that are all the same"),
        pytest.param(deep([[0, 128, 255]], "i4", "TIFF"), [[0, 128, 255]], id="32 bits that hold 8"),
        pytest.param(deep([[0, 32768, 65535]], "i4", "TIFF"), [[0, 128, 255]], id="32 bits that hold 16"),
        pytest.param(deep([[-10, 0, 10]], "i4", "TIFF"), [[0, 128, 255]], id="32 bits of another range"),
    ],
)
def test_deep_images_are_scaled_and_not_clipped(data: bytes, expected: list[list[int]]) -> None:
    assert grey(data) == expected


def test_a_deep_image_of_many_strips_is_scaled_as_a_whole() -> None:
    values = np.linspace(0, 65535, 1500 * 1500).round().astype("<u2").reshape(1500, 1500)
    assert (np.asarray(decode_image(deep(values, "<u2")))[..., 0] == (values / 257).round()).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_refuse_the_image(bad: float) -> None:
    data = deep([[0.0, bad, 1.0]], "f4", "TIFF")
    with pytest.raises(UndecodableImage):
        decode_image(data)
    assert inspector().outcome(data) == "undecodable_image"


def with_clear_palette() -> bytes:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putdata([0, 1])
    return encoded(image, transparency=0)


def half_clear() -> bytes:
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    image.putpixel((1, 0), (0, 0, 255, 255))
    return encoded(image)


def with_clear_colour() -> bytes:
    image = Image.new("RGB", (2, 1), (255, 0, 0))
    image.putpixel((1, 0), (0, 0, 255))
    return encoded(image, transparency=(255, 0, 0))


def grey_and_alpha() -> bytes:
    image = Image.new("LA", (2, 1), (0, 0))
    image.putpixel((1, 0), (9, 255))
    return encoded(image)


def clear_grey() -> bytes:
    image = Image.new("L", (2, 1), 7)
    image.putpixel((1, 0), 9)
    return encoded(image, transparency=7)


def deep_clear_grey() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.asarray([[7, 2313]], dtype="<u2")).save(buffer, format="PNG", transparency=7)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (half_clear(), [WHITE, (0, 0, 255)]),
        (with_clear_palette(), [WHITE, (0, 0, 255)]),
        (with_clear_colour(), [WHITE, (0, 0, 255)]),
        (grey_and_alpha(), [WHITE, (9, 9, 9)]),
        (clear_grey(), [WHITE, (9, 9, 9)]),
        (deep_clear_grey(), [WHITE, (9, 9, 9)]),
    ],
    ids=["RGBA", "palette", "one colour of RGB", "grey and alpha", "one grey", "one grey of 16 bits"],
)
def test_what_is_clear_shows_white_whoever_looks(data: bytes, expected: list[tuple[int, ...]]) -> None:
    assert [tuple(pixel) for pixel in np.asarray(decode_image(data))[0].tolist()] == expected
    assert [tuple(pixel) for pixel in decode_pixels(data)[:, 0].T.tolist()] == expected  # training
    doubled = Image.open(io.BytesIO(data)).resize((2, 2), Image.Resampling.NEAREST)
    doubled.info = Image.open(io.BytesIO(data)).info
    square = encoded(
        doubled, **({"transparency": doubled.info["transparency"]} if "transparency" in doubled.info else {})
    )
    assert [tuple(pixel) for pixel in squash(square, 2)[0].tolist()] == expected  # perturbation at gamma 0, tuning


def turned(orientation: int, form: str) -> bytes:
    """4 x 2 pixels whose first is red as stored, with an EXIF orientation."""
    image = Image.new("RGB", (4, 2), "white")
    image.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encoded(image, form, exif=exif, **({"lossless": True} if form == "WEBP" else {}))


RED_AT = {1: (0, 0), 2: (3, 0), 3: (3, 1), 4: (0, 1), 5: (0, 0), 6: (1, 0), 7: (1, 3), 8: (0, 3)}
"""(x, y) of the first stored pixel once the image is upright, as the EXIF standard says."""


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", RED_AT)
def test_the_exif_orientation_is_applied_once_everywhere(orientation: int, form: str) -> None:
    data = turned(orientation, form)
    size = (4, 2) if orientation < 5 else (2, 4)
    image = decode_image(data)
    assert (image.size, image.getpixel(RED_AT[orientation])) == (size, (255, 0, 0))
    assert inspector().outcome(data) == size
    x, y = RED_AT[orientation]
    assert decode_pixels(data)[:, y, x].tolist() == [255, 0, 0]
    again = encoded(image)
    assert np.array_equal(np.asarray(decode_image(again)), np.asarray(image))
    picture = np.asarray(in_a_grid(data))
    assert (picture.shape[1::-1], picture[y, x].tolist()) == (size, [255, 0, 0, 255])


def test_a_photograph_of_a_phone_is_upright() -> None:
    image = Image.new("RGB", (64, 32), "white")
    image.paste("red", (0, 0, 16, 16))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    upright = decode_image(encoded(image, "JPEG", exif=exif, quality=95))
    assert upright.size == (32, 64)
    red, green, _ = np.asarray(upright)[4, 28].tolist()
    assert red > 200
    assert green < 60


def spoilt(change: Callable[[bytes], bytes]) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    return encoded(Image.new("RGB", (4, 2), "blue"), "JPEG", exif=change(exif.tobytes()))


@pytest.mark.parametrize(
    "change",
    [
        lambda exif: exif[:12],
        lambda exif: b"Exif\0\0" + b"\xff" * 40,
        lambda exif: exif.replace(b"\x00\x06", b"\x00\x63"),
        lambda exif: b"",
    ],
    ids=["cut", "garbage", "an orientation that is none", "nothing"],
)
def test_metadata_that_cannot_be_read_costs_no_image(change: Callable[[bytes], bytes]) -> None:
    data = spoilt(change)
    assert inspector().outcome(data) in {(4, 2), (2, 4)}
    assert decode_image(data).size == inspector().outcome(data)


def test_colours_of_other_kinds_become_rgb() -> None:
    looked_at = 0
    for mode in ("1", "L", "P", "CMYK", "YCbCr"):
        form = {"CMYK": "JPEG", "YCbCr": "JPEG"}.get(mode, "PNG")
        image = decode_image(encoded(Image.new(mode, (8, 8), 0), form))
        assert image.mode == "RGB"
        looked_at += 1
    assert looked_at == 5


def deep_colour(*pixels: tuple[int, int, int], clear: tuple[int, int, int]) -> bytes:
    """A PNG of one row with 16 bits for each colour, which Pillow does not write."""
    row = b"\0" + b"".join(struct.pack(">HHH", *pixel) for pixel in pixels)
    clear_colour = png_chunk(b"tRNS", struct.pack(">HHH", *clear))
    return png(len(pixels), 1, depth=16, before=clear_colour, pixels=row)


def test_sixteen_bits_of_colour_with_a_clear_one_decode() -> None:
    data = deep_colour((0xFFFF, 0, 0), (0, 0x8080, 0xFFFF), clear=(0xFFFF, 0, 0))
    assert inspector().outcome(data) == (2, 1)
    assert np.asarray(decode_image(data))[0].tolist() == [[255, 255, 255], [0, 128, 255]]
