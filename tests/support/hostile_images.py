"""Images that must be refused, by kind: truncated, lying about themselves, bombs, and what is no image at all.

Everything is drawn from one seed. `damaged_at_random` may decode or not: it looks for what ends a process."""

import io
import random
import struct
import zlib
from collections.abc import Iterator
from itertools import product

import numpy as np
from PIL import Image

SIDE = 48
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
Named = tuple[str, bytes]


def refused_images(seed: int) -> Iterator[Named]:
    """(what it is, encoded) of images that nobody may take for one."""
    rng = random.Random(seed)
    yield from _truncated()
    yield from _no_images(rng)
    yield from _other_formats(rng)
    yield from _sizes()
    yield from _damaged_pngs(rng)
    yield from _damaged_jpegs(rng)
    yield from _damaged_tiffs()
    yield from _damaged_bmps_and_gifs()
    yield from _damaged_webps(rng)
    yield from _bombs()


def good_image(number: int, encoding: str = "PNG", side: int = SIDE) -> bytes:
    """A picture of its own for each number."""
    pixels = np.random.default_rng(number).integers(0, 255, (side, side, 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels), encoding)


def encoded(image: Image.Image, encoding: str = "PNG", **settings: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, encoding, **settings)
    return buffer.getvalue()


def damaged_at_random(seed: int, count: int) -> Iterator[Named]:
    """A few bytes of a good image changed, most of them near its beginning, where headers are."""
    rng = random.Random(seed)
    for number in range(count):
        encoding = FORMATS[number % len(FORMATS)]
        data = bytearray(good_image(number, encoding))
        for _ in range(rng.randint(1, 8)):
            data[min(int(rng.expovariate(1 / 80)), len(data) - 1)] = rng.randrange(256)
        yield f"{encoding} damaged at random {number}", bytes(data)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *, depth: int = 8, colour: int = 2, before: bytes = b"", pixels: bytes = b"") -> bytes:
    """A PNG that announces this size; `before`: chunks before its pixels, which are compressed here."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = png_chunk(b"IDAT", zlib.compress(pixels))
    return PNG_SIGNATURE + png_chunk(b"IHDR", header) + before + body + png_chunk(b"IEND", b"")


def tiff(*tags: tuple[int, int, int, bytes]) -> bytes:
    """Little-endian, of (tag, type, count, value or offset in four bytes)."""
    entries = b"".join(
        struct.pack("<HHI", tag, kind, count) + value[:4].ljust(4, b"\0") for tag, kind, count, value in tags
    )
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0) + b"\0" * 256


def _truncated() -> Iterator[Named]:
    """Cut off within the first half, where something is missing in every format."""
    for encoding in FORMATS:
        data = good_image(1, encoding)
        for part in range(1, 41):
            yield f"{encoding} cut off after {part}/82", data[: len(data) * part // 82]


def _no_images(rng: random.Random) -> Iterator[Named]:
    for number in range(200):
        yield f"random bytes {number}", rng.randbytes(rng.randint(1, 4000))
    texts = (
        "<html>gone</html>",
        "404",
        "{}",
        "[" * 20_000,
        "<svg xmlns='http://www.w3.org/2000/svg'/>",
        "%PDF-1.7",
        "\0",
    )
    for text in texts:
        for repeats in (1, 50):
            yield f"text {text[:10]!r} {repeats} times", text.encode() * repeats


def _other_formats(rng: random.Random) -> Iterator[Named]:
    """Formats that readers exist for and that are not asked for: their readers are the less tried ones."""
    picture = Image.fromarray(np.zeros((32, 32, 3), np.uint8))
    for encoding in ("PPM", "TGA", "PCX", "ICO", "SGI", "MSP", "EPS", "PDF", "JPEG2000", "DDS"):
        data = encoded(picture.convert("1") if encoding == "MSP" else picture, encoding)
        for extra in range(4):
            yield f"{encoding} {extra}", data + rng.randbytes(extra)
    for magic in (
        b"8BPS",
        b"PK\3\4",
        b"\x1f\x8b",
        b"\x7fELF",
        b"MZ",
        b"cos\nsystem\n(S'true'\ntR.",
        b"%!PS-Adobe",
        b"Rar!",
    ):
        for _ in range(5):
            yield f"begins with {magic[:4]!r}", magic + rng.randbytes(300)


def _sizes() -> Iterator[Named]:
    """Announced sizes: too many pixels, no pixels, and stripes, with pixels to match where there are few."""
    huge = (7_000, 20_000, 65_535, 2**20, 2**31 - 1)
    for width, height in product(huge, huge):
        yield f"PNG of {width}x{height}", png(width, height)
    for width, height in ((0, 0), (0, 10), (10, 0), (2**31, 1), (2**32 - 1, 2**32 - 1)):
        yield f"PNG of {width}x{height}", png(width, height)
    for longer, shorter in product((5_000, 20_000, 250_000), (1, 2, 7)):
        yield f"stripe of {longer}x{shorter}", encoded(Image.new("L", (longer, shorter)), "PNG")
        yield f"stripe of {shorter}x{longer}", encoded(Image.new("1", (shorter, longer)), "PNG")
    for encoding in ("JPEG", "BMP", "GIF", "TIFF", "WEBP"):
        for longer in (3_000, 9_000, 16_000):
            yield f"{encoding} stripe of {longer}", encoded(Image.new("RGB", (longer, 8)), encoding)
    for side in (6_400, 9_000, 12_000):
        yield f"bomb of {side} squared", encoded(Image.new("1", (side, side)), "PNG")
    jpeg = good_image(2, "JPEG")
    frame = jpeg.index(b"\xff\xc0")
    for width, height in product((0, 9_000, 65_500, 65_535), (0, 9_000, 65_500)):
        yield f"JPEG of {width}x{height}", jpeg[: frame + 5] + struct.pack(">HH", height, width) + jpeg[frame + 9 :]


def _damaged_pngs(rng: random.Random) -> Iterator[Named]:
    good = good_image(3)
    first = good.index(b"IDAT") + 4
    for number in range(60):
        data = bytearray(good)
        offset = first + 10 + rng.randrange(1000)
        data[offset] ^= 1 << rng.randrange(8)
        yield f"PNG with a flipped bit {number}", bytes(data)
    for depth, colour in product((0, 3, 5, 7, 32, 255), (0, 1, 2, 5, 7, 200)):
        yield (
            f"PNG of depth {depth} and colour type {colour}",
            png(8, 8, depth=depth, colour=colour, pixels=b"\0" * 400),
        )
    for kind in (b"IDAT", b"PLTE", b"IHDR", b"iCCP"):
        for length in (2**31, 2**32 - 1, 10**6):
            lying = struct.pack(">I", length) + kind + b"x"
            yield f"PNG with {kind.decode()} of {length} bytes", good[:33] + lying
    for size in (5, 50, 500):
        text = png_chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * size * 2**20, 9))
        yield f"PNG with a comment of {size} MiB", png(8, 8, before=text, pixels=(b"\0" + b"\1" * 24) * 8)
    for count in (70, 200):
        text = png_chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * (2**20 - 16), 9)) * count
        yield f"PNG with {count} comments of 1 MiB", png(8, 8, before=text, pixels=(b"\0" + b"\1" * 24) * 8)


def _damaged_jpegs(rng: random.Random) -> Iterator[Named]:
    picture = Image.fromarray(np.random.default_rng(4).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    baseline, progressive = encoded(picture, "JPEG"), encoded(picture, "JPEG", progressive=True)
    for segment in (b"\xff\xc0", b"\xff\xda"):
        offset = baseline.index(segment)
        for number in range(20):
            yield f"JPEG without {segment.hex()} {number}", baseline[:offset] + rng.randbytes(number) + baseline[-2:]
    last = progressive.rindex(b"\xff\xda")
    for scans in (101, 1_000, 20_000):
        yield f"JPEG of {scans} scans", progressive[:last] + progressive[last:-2] * scans + b"\xff\xd9"
    for number in range(30):
        offset = baseline.index(b"\xff\xc0")
        components = baseline[: offset + 9] + bytes([rng.choice((0, 2, 5, 9, 200))]) + baseline[offset + 10 :]
        yield f"JPEG with other components {number}", components[: len(components) - number]


TIFF_TAGS = (256, 257, 258, 259, 262, 273, 277, 278, 279)


def _damaged_tiffs() -> Iterator[Named]:
    """Tags of a type that they cannot have, of lengths that are not there, and unknown kinds of everything."""
    whole = {
        256: (3, 1, struct.pack("<I", 8)), 257: (3, 1, struct.pack("<I", 8)), 258: (3, 1, struct.pack("<I", 8)),
        259: (3, 1, struct.pack("<I", 1)), 262: (3, 1, struct.pack("<I", 1)), 273: (4, 1, struct.pack("<I", 150)),
        277: (3, 1, struct.pack("<I", 1)), 278: (3, 1, struct.pack("<I", 8)), 279: (4, 1, struct.pack("<I", 64)),
    }  # fmt: skip
    for tag in (256, 257):
        for kind in (2, 7, 12, 5, 16, 200):
            changed = whole | {tag: (kind, 3, b"ab\0\0")}
            yield f"TIFF tag {tag} of type {kind}", tiff(*((each, *changed[each]) for each in TIFF_TAGS))
    for value in (2, 6, 9, 999, 65_535):
        for tag in (259, 262):
            changed = whole | {tag: (3, 1, struct.pack("<I", value * 7 + 60_001 & 0xFFFF))}
            yield f"TIFF tag {tag} is {value}", tiff(*((each, *changed[each]) for each in TIFF_TAGS))
    for tag in (256, 257):
        yield f"TIFF without tag {tag}", tiff(*((each, *whole[each]) for each in TIFF_TAGS if each != tag))
        for count in (2**20, 2**31, 2**32 - 1):
            changed = whole | {tag: (4, count, struct.pack("<I", 4))}
            yield f"TIFF tag {tag} of {count} values", tiff(*((each, *changed[each]) for each in TIFF_TAGS))
    for offset in (0, 4, 2**31, 2**32 - 1):
        yield f"TIFF directory at {offset}", b"II*\0" + struct.pack("<I", offset) + b"\0" * 64
    for size in (10**5, 2**24, 2**31, 2**32 - 1):
        changed = whole | {256: (4, 1, struct.pack("<I", size)), 257: (4, 1, struct.pack("<I", size))}
        yield f"TIFF of {size} squared", tiff(*((each, *changed[each]) for each in TIFF_TAGS))


def _damaged_bmps_and_gifs() -> Iterator[Named]:
    bmp, gif = good_image(5, "BMP"), good_image(5, "GIF")
    for width, height in product((2**16, 2**24, 2**31 - 1, -5), (2**16, 2**31 - 1)):
        yield f"BMP of {width}x{height}", bmp[:18] + struct.pack("<ii", width, height) + bmp[26:]
    for bits, compression in product((3, 5, 7, 64, 999), (0, 9, 77)):
        yield f"BMP of {bits} bits, packed {compression}", bmp[:28] + struct.pack("<HI", bits, compression) + bmp[34:]
    for size in (0, 3, 999, 2**31):
        yield f"BMP with a header of {size} bytes", bmp[:14] + struct.pack("<I", size) + bmp[18:]
    for width, height in product((20_000, 65_535), (20_000, 65_535)):
        yield f"GIF of {width}x{height}", gif[:6] + struct.pack("<HH", width, height) + gif[10:]
    for blocks in range(20):
        yield f"GIF of {blocks} empty blocks", gif[:13] + b"\x21\xfe\x00" * blocks + b"\x3b"


def _damaged_webps(rng: random.Random) -> Iterator[Named]:
    for lossless in (False, True):
        good = encoded(Image.fromarray(np.full((48, 48, 3), 90, np.uint8)), "WEBP", lossless=lossless)
        for number in range(20):
            yield f"WEBP of garbage {number}, lossless: {lossless}", good[:20] + rng.randbytes(len(good) - 20)
        for kind in (b"VP8X", b"ANIM", b"ICCP", b"XXXX"):
            yield f"WEBP that begins with {kind.decode()}", good[:12] + kind + good[16:20] + rng.randbytes(40)


def _bombs() -> Iterator[Named]:
    """As many pixels as are allowed, in a few kilobytes, in the format whose library holds them three times."""
    for side in (6_200, 6_300):
        yield (
            f"WEBP of {side} squared",
            encoded(Image.new("RGB", (side, side)), "WEBP", lossless=True, method=0, quality=0),
        )
