"""Judging encoded images that nobody vouches for, in processes that may not take much memory or time.

Each image is decoded here once, where it comes in.
Whoever takes its bytes by their digest later decodes them as usual."""

import io
import os
import struct
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import IO

from touchstone_runtime.confined import ConfinedPool, Died
from touchstone_runtime.decoding import MAX_BYTES, UndecodableImage, inspect_image

MOST_PROCESSES = 4
CHUNK_BYTES = 4 * 2**20
"""Encoded images that cross to a process at once, or one image."""
CHUNK_IMAGES = 64
COPIED_BYTES = 2**20
"""Up to this a copy is faster than a file without one."""

Outcome = tuple[int, int] | str
"""Width and height, or why the image is refused."""
LARGE_PIXELS = 8_000_000
"""Libraries say of memory that ran out that the image is damaged. An image of this size that a used process refuses is
tried again by a fresh one."""
LENGTHS = struct.Struct(">I")
SIZE, REASON, UNSURE = b"+", b"-", b"?"
SIDES = struct.Struct(">II")


class Inspector:
    """Judges images with a few processes, in the order they were given."""

    def __init__(self, pool: ConfinedPool, processes: int) -> None:
        self.pool, self._processes = pool, processes

    def outcomes(self, images: Sequence[bytes]) -> Iterator[Outcome]:
        """The same for the same bytes, whatever was judged before. Raises Transient where the system ended a process
        from outside."""
        if not images:
            return
        with ThreadPoolExecutor(self._processes) as threads:
            for outcomes in threads.map(self._chunk, _chunks(images, self._processes)):
                yield from outcomes

    def outcome(self, image: bytes) -> Outcome:
        return self._chunk([image])[0]

    def _chunk(self, images: Sequence[bytes]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        while len(outcomes) < len(images):
            if len(images[len(outcomes)]) > MAX_BYTES:
                outcomes.append("too_many_bytes")
                continue
            try:
                with self.pool.process() as process:
                    for answer in process.ask(_packed(images[len(outcomes) :])):
                        outcomes.append(self._alone(images[len(outcomes)]) if answer == UNSURE else _outcome(answer))
            except Died as death:
                outcomes.append(death.how if death.fresh and not death.answered else self._alone(images[len(outcomes)]))
        return outcomes

    def _alone(self, image: bytes) -> Outcome:
        """By a process that has done nothing yet: what was judged before must not count against it."""
        try:
            with self.pool.process(fresh=True) as process:
                (answer,) = process.ask(_packed([image]))
                return UndecodableImage.code if answer == UNSURE else _outcome(answer)
        except Died as death:
            return death.how


@cache
def inspector() -> Inspector:
    """Of this process."""
    return Inspector(ConfinedPool(f"{__name__}:inspect"), min(MOST_PROCESSES, os.cpu_count() or 1))


def _chunks(images: Sequence[bytes], processes: int) -> Iterator[Sequence[bytes]]:
    most = max(1, min(CHUNK_IMAGES, -(-len(images) // processes)))
    first, size = 0, 0
    for position, image in enumerate(images):
        if position > first and (position - first == most or size + len(image) > CHUNK_BYTES):
            yield images[first:position]
            first, size = position, 0
        size += len(image)
    yield images[first:]


def _packed(images: Sequence[bytes]) -> bytes:
    """Images up to the first one that is too big to be sent."""
    sent = list(images)
    for position, image in enumerate(sent):
        if len(image) > MAX_BYTES:
            del sent[position:]
            break
    return b"".join(part for image in sent for part in (LENGTHS.pack(len(image)), image))


def inspect(request: memoryview) -> Iterator[bytes]:
    """What the processes run: an outcome for each image of the request."""
    offset = 0
    while offset < len(request):
        (length,) = LENGTHS.unpack_from(request, offset)
        offset += LENGTHS.size
        yield _judged(request[offset : offset + length])
        offset += length


def _judged(data: memoryview) -> bytes:
    file: IO[bytes] = io.BufferedReader(_Bytes(data)) if len(data) > COPIED_BYTES else io.BytesIO(data)
    try:
        return SIZE + SIDES.pack(*inspect_image(file))
    except UndecodableImage as error:
        large = error.code == UndecodableImage.code and error.pixels >= LARGE_PIXELS
        return UNSURE if large else REASON + error.code.encode()


def _outcome(answer: bytearray) -> Outcome:
    if answer.startswith(REASON):
        return answer[1:].decode()
    width, height = SIDES.unpack(answer[1:])
    return width, height


class _Bytes(io.RawIOBase):
    """Bytes as a file without a copy of them."""

    def __init__(self, data: memoryview) -> None:
        self._data, self._position = data, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = max(0, offset + (0, self._position, len(self._data))[whence])
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        part = self._data[self._position : self._position + len(buffer)]
        buffer[: len(part)] = part
        self._position += len(part)
        return len(part)
