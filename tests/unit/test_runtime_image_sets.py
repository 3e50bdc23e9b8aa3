"""Image sets: tars any WebDataset reader can open, rows that point into them, the same bytes every time."""

import io
import tarfile
import tracemalloc
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from touchstone_contracts.image_sets import COLUMNS, ImageSet
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.image_sets import (
    SCHEMA,
    ImageRecord,
    ImageSetWriter,
    image_extension,
    in_storage_order,
    read_images,
    save_image_set,
)
from touchstone_runtime.objects import MemoryObjects

PNG = b"\x89PNG\r\n\x1a\n"


def picture(number: int, length: int = 700) -> bytes:
    return PNG + bytes([number]) * length


def written(artifacts: Artifacts, count: int, shard_bytes: int = 1 << 20) -> ImageSet:
    writer = ImageSetWriter(artifacts, shard_bytes=shard_bytes)
    for number in range(count):
        record = ImageRecord(
            width=8, height=8, source_kind="upstream", source_key=f"k{number}", caption=f"thing {number}"
        )
        writer.add(picture(number), record)
    return writer.finish()


def test_a_row_points_at_the_bytes_of_its_image() -> None:
    artifacts = Artifacts(MemoryObjects())
    images = written(artifacts, 5)
    table = artifacts.get_table(images.manifest)
    assert table.schema.names == SCHEMA.names
    assert set(table.schema.names) == set(COLUMNS)
    assert images.count == table.num_rows == 5
    for row in table.to_pylist():
        data = artifacts.get_image(row["id"], row["shard"], row["offset"], row["length"])
        assert data == picture(int(row["source_key"][1:]))
        assert row["caption"] == f"thing {row['source_key'][1:]}"


def test_shards_are_plain_tars_with_images_and_captions_side_by_side() -> None:
    artifacts = Artifacts(MemoryObjects())
    images = written(artifacts, 3)
    [shard] = images.shards
    with tarfile.open(fileobj=io.BytesIO(artifacts.get_blob(shard))) as tar:
        members = {member.name: tar.extractfile(member) for member in tar}
    assert sorted(members) == [f"{n:09d}.{ending}" for n in range(3) for ending in ("png", "txt")]
    caption, image = members["000000002.txt"], members["000000002.png"]
    assert caption is not None
    assert image is not None
    assert caption.read() == b"thing 2"
    assert image.read() == picture(2)


def test_the_same_images_give_the_same_set() -> None:
    first, second = (written(Artifacts(MemoryObjects()), 6, shard_bytes=4096) for _ in range(2))
    assert first == second


def test_a_full_shard_is_closed_and_a_new_one_opened() -> None:
    artifacts = Artifacts(MemoryObjects())
    images = written(artifacts, 10, shard_bytes=4096)
    assert len(images.shards) > 1
    table = artifacts.get_table(images.manifest)
    assert list(read_images(artifacts, table, images.shards)) == [picture(number) for number in range(10)]


def test_a_reader_holds_one_shard_at_a_time() -> None:
    artifacts = Artifacts(MemoryObjects())
    images = written(artifacts, 200, shard_bytes=1 << 14)
    assert len(images.shards) > 8
    table, largest = artifacts.get_table(images.manifest), max(shard.size for shard in images.shards)
    tracemalloc.start()
    try:
        for number, image in enumerate(read_images(artifacts, table, images.shards)):
            assert image == picture(number)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    rows = 400 * table.num_rows  # the locations of so few images, as Python objects
    assert peak < 2 * largest + rows < sum(shard.size for shard in images.shards)


@pytest.mark.parametrize("held_bytes", [0, 20_000, 1 << 20])
def test_images_in_any_order_are_the_same_however_few_shards_may_be_held(held_bytes: int) -> None:
    artifacts = Artifacts(MemoryObjects())
    images = written(artifacts, 60, shard_bytes=8192)
    order = np.random.default_rng(0).permutation(60)
    table = artifacts.get_table(images.manifest).take(order)
    found = list(read_images(artifacts, table, images.shards, held_bytes))
    assert found == [picture(number) for number in order.tolist()]
    assert np.array_equal(
        order[in_storage_order(table)], sorted(order, key=lambda row: storage_location(table, order, row))
    )


def storage_location(table: pa.Table, order: np.ndarray, row: int) -> tuple[str, int]:
    location = table.slice(int(np.flatnonzero(order == row)[0]), 1).to_pylist()[0]
    return location["shard"], location["offset"]


def test_an_empty_set_is_a_set() -> None:
    artifacts = Artifacts(MemoryObjects())
    images = ImageSetWriter(artifacts).finish()
    assert (images.count, images.shards) == (0, ())
    assert list(read_images(artifacts, artifacts.get_table(images.manifest), images.shards)) == []


def test_a_selection_refers_to_the_shards_it_needs_and_copies_no_bytes() -> None:
    artifacts = Artifacts(MemoryObjects())
    images = written(artifacts, 10, shard_bytes=4096)
    table = artifacts.get_table(images.manifest)
    first_two = save_image_set(artifacts, table.slice(0, 2), images.shards)
    assert first_two.shards == images.shards[:1]
    assert list(read_images(artifacts, artifacts.get_table(first_two.manifest), first_two.shards)) == [
        picture(0),
        picture(1),
    ]


class CountingObjects(MemoryObjects):
    def __init__(self) -> None:
        super().__init__()
        self.whole = self.ranges = 0

    def get(self, key: str) -> bytes:
        self.whole += 1
        return super().get(key)

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        self.ranges += 1
        return self._objects[key][offset : offset + length]


@pytest.mark.parametrize(("rows", "whole", "ranges"), [([7], 0, 1), (range(40), 1, 0)])
def test_few_images_are_fetched_by_range_and_many_as_a_whole_shard(
    rows: Sequence[int], whole: int, ranges: int
) -> None:
    objects = CountingObjects()
    artifacts = Artifacts(objects)
    images = written(artifacts, 40)
    table = artifacts.get_table(images.manifest).take(list(rows))
    objects.whole = objects.ranges = 0
    assert list(read_images(artifacts, table, images.shards)) == [picture(row) for row in rows]
    assert (objects.whole, objects.ranges) == (whole, ranges)


def test_the_file_ending_follows_the_bytes() -> None:
    assert image_extension(PNG) == "png"
    assert image_extension(b"RIFF\x00\x00\x00\x00WEBPVP8L") == "webp"
    assert image_extension(b"\xff\xd8\xff\xe0") == "jpg"
