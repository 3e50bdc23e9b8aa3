"""Tar archives with one member that must be refused between two that must arrive, by kind."""

import random
from collections.abc import Iterator

from support.hostile_images import good_image

BLOCK = 512
END = b"\0" * 2 * BLOCK


def refused_members(seed: int) -> Iterator[tuple[str, bytes]]:
    """(what it is, headers and data) of a member that cannot be read; its name begins with "bad"."""
    rng = random.Random(seed)
    picture = good_image(9)
    for size in (-1, -512, -513, -(2**40), -(2**63)):
        yield f"size {size}", header("bad.png", size=size) + padded(picture)
    for power in (20, 31, 32, 33, 40, 53, 62, 63, 64, 65, 80):
        yield f"size 2^{power}", header("bad.png", size=2**power) + padded(picture)
    for text in (b"zzzzzzzzzzz\0", b"-0000000001\0", b"0x123\0", b"9" * 12, b"\xff\x00" * 6, b"1.5e9\0"):
        yield f"size {text!r}", header("bad.png", field=text) + padded(picture)
    for number in range(20):
        spoilt = bytearray(header("bad.png", size=len(picture)))
        spoilt[rng.randrange(0, 148)] ^= 1 << rng.randrange(1, 7)
        yield f"header with a flipped bit {number}", bytes(spoilt) + padded(picture)
    for power in (20, 32, 33, 62):
        yield f"old sparse file of 2^{power}", old_sparse(2**power)
        for records in (
            {"GNU.sparse.size": str(2**power), "GNU.sparse.numblocks": "1", "GNU.sparse.offset": "0"},
            {"GNU.sparse.map": f"0,1,{2**power},0", "GNU.sparse.size": str(2**power)},
            {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(2**power)},
            {"GNU.sparse.size": "many"},
        ):
            yield f"sparse file by {records}", pax(records) + member("bad.png", picture)
    for digits in ("-5", str(2**40), str(2**65), "9" * 5000, "", "1e3", "0x10", "١٢"):
        yield f"extended size {digits[:10]}", pax({"size": digits}) + member("bad.png", picture)
    for ending in ("png", "jpg", "webp"):
        yield f"{ending} twice", member(f"bad.{ending}", picture) + member(f"bad.{ending}", picture)


def odd_members() -> Iterator[tuple[str, bytes]]:
    """Members with something strange about them that must arrive all the same: their image is whole."""
    picture = good_image(10)
    yield "name that is no UTF-8", header(b"odd\xff\xfe.png", size=len(picture)) + padded(picture)
    yield "extended name that is no UTF-8", pax({"path": b"odd\xff.png"}) + member("odd.png", picture)
    yield "name with a line end", member("odd\n\t.png", picture)
    yield "name of 300,000 characters", pax({"path": "odd/" * 75_000 + "odd.png"}) + member("odd.png", picture)
    yield "extended header of 2^40 bytes", header("x", size=2**40, kind=b"x") + member("odd.png", picture)
    yield "extended header of -1 bytes", header("x", size=-1, kind=b"x") + member("odd.png", picture)
    yield "long name of 2^65 bytes", header("x", size=2**65, kind=b"L") + member("odd.png", picture)
    yield "5,000 extended headers", pax({"comment": "x"}) * 5_000 + member("odd.png", picture)
    yield (
        "5,000 long names",
        (header("x", size=8, kind=b"L") + padded(b"odd.png\0")) * 5_000 + member("odd.png", picture),
    )
    yield "global header with a size", pax({"size": "3"}, kind=b"g") + member("odd.png", picture)
    yield "extended header of garbage", header("x", size=512, kind=b"x") + b"\xff" * 512 + member("odd.png", picture)
    for name, text in (
        ("20,000 brackets", b"[" * 20_000),
        ("20,000 objects", b'{"caption":' * 20_000),
        ("caption of brackets", b'{"caption":' + b"[" * 900 + b"]" * 900 + b"}"),
        ("number of 100,000 digits", b'{"caption": ' + b"9" * 100_000 + b"}"),
        ("bytes", bytes(range(256))),
        ("2 MiB", b'{"caption": "' + b"x" * 2**21 + b'"}'),
        ("surrogates", b'{"caption": "\\ud800"}'),
    ):
        yield f"description: {name}", member("odd.png", picture) + member("odd.json", text)
    yield "caption of 3 MiB", member("odd.png", picture) + member("odd.txt", b"x\0" * 1_500_000)


def between_neighbours(middle: bytes, number: int) -> bytes:
    """A whole archive."""
    first, last = (member(f"good-{position}.png", good_image(100 + 2 * number + position)) for position in (0, 1))
    return first + middle + last + END


def member(name: str, data: bytes) -> bytes:
    return header(name, size=len(data)) + padded(data)


def padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % BLOCK)


def header(name: str | bytes, *, size: int = 0, field: bytes | None = None, kind: bytes = b"0") -> bytes:
    """`field`: twelve bytes instead of the size."""
    raw = name if isinstance(name, bytes) else name.encode()
    if field is None:
        fits = 0 <= size < 8**11
        field = b"%011o\0" % size if fits else (b"\xff" if size < 0 else b"\x80") + (size % 256**11).to_bytes(11, "big")
    block = bytearray(BLOCK)
    block[0 : len(raw)] = raw
    block[100:124] = b"0000644\0" * 3
    block[124:136] = field[:12].ljust(12, b"\0")
    block[136:148] = b"0" * 11 + b"\0"
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    return _summed(block)


def old_sparse(size: int) -> bytes:
    block = bytearray(header("bad.png", size=BLOCK, kind=b"S"))
    block[386:398], block[398:410] = b"0" * 11 + b"\0", b"%011o\0" % BLOCK
    block[483:495] = b"%011o\0" % size if size < 8**11 else b"\x80" + size.to_bytes(11, "big")
    return _summed(block) + good_image(9)[:BLOCK].ljust(BLOCK, b"\0")


def pax(records: dict[str, str] | dict[str, bytes], kind: bytes = b"x") -> bytes:
    content = b"".join(_record(key.encode(), value if isinstance(value, bytes) else value.encode())
                       for key, value in records.items())  # fmt: skip
    return header("PaxHeaders/x", size=len(content), kind=kind) + padded(content)


def _record(key: bytes, value: bytes) -> bytes:
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest)
    while len(str(length)) + len(rest) != length:
        length = len(str(length)) + len(rest)
    return str(length).encode() + rest


def _summed(block: bytearray) -> bytes:
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)
