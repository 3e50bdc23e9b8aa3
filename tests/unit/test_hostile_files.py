"""A thousand malformed and malicious files: each ends in a reason, its neighbours arrive, memory stays bounded.

The same process reads all of them, as a worker does."""

import asyncio
import ctypes
import io
import itertools
import json
import os
import tarfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.hostile_images import damaged_at_random, good_image, refused_images
from support.hostile_tables import ROWS, Row, damaged_tables, no_tables, repeated_value, table
from support.hostile_tars import between_neighbours, member, odd_members, refused_members
from touchstone_contracts.catalogue import ArrayFile, ImageFolder, LinkTable, ParquetFile, TarShard
from touchstone_contracts.identity import sha256
from touchstone_contracts.problems import Invalid
from touchstone_retrieval.download.obtaining import Link
from touchstone_retrieval.download.recording import record_images
from touchstone_retrieval.ingest.folder_source import images_in, with_captions
from touchstone_retrieval.ingest.given_embeddings import UnusableEmbeddings, read_embeddings
from touchstone_retrieval.ingest.image_set import write_source
from touchstone_retrieval.ingest.link_table import link_id, read_links
from touchstone_retrieval.ingest.location_reader import LocationReader
from touchstone_retrieval.ingest.opening import opened
from touchstone_retrieval.ingest.parquet_reading import readers
from touchstone_retrieval.ingest.source import UnreadableSource
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.decoding import MAX_BYTES
from touchstone_runtime.digests import file_digest, listing_digest
from touchstone_runtime.inspection import inspector
from touchstone_runtime.library import Library
from touchstone_runtime.objects import MemoryObjects

SEED = 17
MOST_DECODING_BYTES = 512_000_000
MOST_READING_BYTES = 1_200_000_000
MOST_GROWTH = 512_000_000
"""Of this process, which holds one batch of encoded images at a time."""
SHARD = 60
"""Bad images in a shard, with as many good ones between them."""


@dataclass
class Findings:
    """Over all sources."""

    files: int = 0
    refused: int = 0
    """Files that ended in a reason."""
    neighbours: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, files: int, refused: int, neighbours: int, reasons: dict[str, int]) -> None:
        self.files += files
        self.refused += refused
        self.neighbours += neighbours
        self.reasons.update(reasons)


Source = ParquetFile | TarShard | ImageFolder


@pytest.fixture
def ingest(tmp_path: Path) -> Callable[[Source], tuple[list[str], dict[str, int]]]:
    """The keys that arrived and how many were refused, by reason."""

    def ingest(source: Source) -> tuple[list[str], dict[str, int]]:
        artifacts = Artifacts(MemoryObjects())
        with opened(source, LocationReader(Library(tmp_path), None)) as rows:
            images, account = write_source(rows, artifacts)
        return artifacts.get_table(images.manifest)["source_key"].to_pylist(), account.counts

    return ingest


Ingest = Callable[[Source], tuple[list[str], dict[str, int]]]


@cache
def corpus() -> list[tuple[str, bytes]]:
    return list(refused_images(SEED))


def shard(folder: Path, data: bytes, images: int) -> TarShard:
    (folder / "x.tar").write_bytes(data)
    return TarShard(location="library:x.tar", digest=sha256(data), images=images)


def parquet(folder: Path, data: bytes, images: int) -> ParquetFile:
    (folder / "x.parquet").write_bytes(data)
    return ParquetFile(location="library:x.parquet", digest=sha256(data), images=images)


def in_shards(images: Iterable[tuple[str, bytes]]) -> Iterator[tuple[bytes, int]]:
    """Archives in which a good image follows each bad one, and how many bad ones there are."""
    for batch in _batched(images):
        members = (
            member(f"bad-{number}.png", data) + member(f"good-{number}.png", good_image(number))
            for number, (_, data) in enumerate(batch)
        )
        yield b"".join(members) + b"\0" * 1024, len(batch)


def _batched(images: Iterable[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    left = iter(images)
    while batch := list(itertools.islice(left, SHARD)):
        yield batch


def memory_held(most: bool = False) -> int:
    """Bytes of this process: now, or at most since `forget_peak`."""
    wanted = "VmHWM:" if most else "VmRSS:"
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(wanted))


def forget_peak() -> int:
    """What is held now, without what making the files has left in the allocators."""
    pa.default_memory_pool().release_unused()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return memory_held()


def test_a_thousand_hostile_files_end_in_a_reason_each(
    tmp_path: Path, ingest: Ingest, capsys: pytest.CaptureFixture[str]
) -> None:
    found = Findings()
    images, members = corpus(), [*refused_members(SEED)]
    tables, spoilt = [*damaged_tables(SEED)], [*no_tables()]
    before = forget_peak()
    for data, bad in in_shards(images):
        keys, rejected = ingest(shard(tmp_path, data, 2 * bad))
        assert keys == [f"good-{number}" for number in range(bad)]
        found.add(bad, sum(rejected.values()), len(keys), rejected)
    for number, (_, data) in enumerate(members):
        keys, rejected = ingest(shard(tmp_path, between_neighbours(data, number), 3))
        assert keys == ["good-0", "good-1"]
        found.add(1, sum(rejected.values()), len(keys), rejected)
    for _, data in tables:
        keys, rejected = ingest(parquet(tmp_path, data, 3 * ROWS))
        assert len(keys) == 2 * ROWS
        found.add(1, sum(rejected.values()) // ROWS, len(keys), rejected)
    for _, data in spoilt:
        with pytest.raises(UnreadableSource) as refused:
            ingest(parquet(tmp_path, data, 3 * ROWS))
        found.add(1, 1, 0, {refused.value.code: 1})
    decoding, reading = inspector().pool, readers()
    with capsys.disabled():
        print(
            f"\nHostile corpus: {found.refused} of {found.files}; {found.neighbours} neighbours arrived; "
            f"peak memory of a decoding process {decoding.peak_bytes / 1e6:.0f} MB, "
            f"of a process that reads tables {reading.peak_bytes / 1e6:.0f} MB, "
            f"growth of the worker {(memory_held(most=True) - before) / 1e6:.0f} MB; no worker restarts "
            f"({decoding.started} decoding and {reading.started} reading processes were started); {dict(found.reasons)}"
        )
    assert found.refused == found.files >= 1000
    assert found.neighbours >= 1000
    assert 0 < decoding.peak_bytes < MOST_DECODING_BYTES
    assert 0 < reading.peak_bytes < MOST_READING_BYTES
    assert memory_held(most=True) - before < MOST_GROWTH


def test_strange_members_with_a_whole_image_arrive(tmp_path: Path, ingest: Ingest) -> None:
    arrived = 0
    for number, (_, data) in enumerate(odd_members()):
        keys, rejected = ingest(shard(tmp_path, between_neighbours(data, number), 3))
        assert (len(keys), rejected) == (3, {})
        assert keys[1].encode().startswith((b"odd", b"x"))
        arrived += 1
    assert arrived == 19


def test_images_damaged_at_random_arrive_or_have_a_reason(tmp_path: Path, ingest: Ingest) -> None:
    seen = Counter[str]()
    for data, bad in in_shards(damaged_at_random(SEED, 600)):
        keys, rejected = ingest(shard(tmp_path, data, 2 * bad))
        assert len(keys) + sum(rejected.values()) == 2 * bad
        assert {f"good-{number}" for number in range(bad)} <= set(keys)
        seen.update(rejected)
    assert 200 < sum(seen.values()) < 600
    assert set(seen) <= {"undecodable_image", "too_large", "too_elongated"}


def test_a_value_that_rows_share_does_not_fill_memory(tmp_path: Path, ingest: Ingest) -> None:
    """320 MB from 2 kB: rows cross to this process a few at a time."""
    data = repeated_value(16, 20 * 2**20)
    assert len(data) < 5_000
    before = forget_peak()
    with pytest.raises(Invalid, match="none of 16 images can be used"):
        ingest(parquet(tmp_path, data, 16))
    assert memory_held(most=True) - before < MOST_GROWTH


def test_a_member_larger_than_any_image_is_not_read(tmp_path: Path, ingest: Ingest) -> None:
    path = tmp_path / "x.tar"
    with path.open("wb") as file:
        file.write(member("good-0.png", good_image(0)))
        info = tarfile.TarInfo("bad.png")
        info.size = 3 * MAX_BYTES
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.seek(info.size, io.SEEK_CUR)
        file.write(member("good-1.png", good_image(1)) + b"\0" * 1024)
    before = forget_peak()
    source = TarShard(location="library:x.tar", digest=file_digest(path), images=3)
    assert ingest(source) == (["good-0", "good-1"], {"too_many_bytes": 1})
    assert memory_held(most=True) - before < MAX_BYTES


def test_a_folder_of_strange_files_gives_the_good_ones(tmp_path: Path, ingest: Ingest) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    (root / "a.png").write_bytes(good_image(0))
    (root / "b.png").write_bytes(b"no image")
    with (root / "c.png").open("wb") as file:
        file.truncate(4 * MAX_BYTES)
    (root / "d.png").write_bytes(good_image(1))
    (root / "d.txt").write_bytes(b"\xff\xfe" * 100_000)
    (root / os.fsdecode(b"e\xff.png")).write_bytes(good_image(2))
    os.mkfifo(root / "f.png")
    rows = ["file_name,caption", "a.png,first", f"{'x' * 200_000},long", "d.png", "e,f,g,h", "a.png,last"]
    (root / "metadata.csv").write_text("\n".join(rows).replace("e,f,g,h", "b.png,f,g,h"))
    images = images_in(root)
    source = ImageFolder(
        location="library:photos", digest=listing_digest(root, with_captions(root, images)), images=len(images)
    )
    keys, rejected = ingest(source)
    assert keys == ["a.png", "d.png", "e\\udcff.png"]
    assert rejected == {"too_many_bytes": 1, "undecodable_image": 1}


def test_text_of_a_table_that_is_no_utf8_spoils_itself_alone(tmp_path: Path, ingest: Ingest) -> None:
    rows: list[Row] = [{"key": f"kxy{n}", "image": good_image(n), "caption": f"cxy{n}"} for n in range(3)]
    data = table(rows, "none")
    for text in (b"kxy1", b"cxy2"):
        data = data.replace(text, text[:1] + b"\xff\xfe" + text[3:])
    keys, rejected = ingest(parquet(tmp_path, data, 3))
    assert (keys, rejected) == (["kxy0", "k\\udcff\\udcfe1", "kxy2"], {})


def test_rows_of_a_damaged_link_table_keep_their_row_numbers(tmp_path: Path) -> None:
    rows: list[Row] = [{"url": f"http://x/{n}", "caption": f"c{n}", "sha256": None} for n in range(9)]
    rows[1]["url"], rows[7]["caption"] = "http://x/" + "y" * 10_000, "kxy"
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink, row_group_size=3, compression="none")
    data = bytearray(sink.getvalue().replace(b"kxy", b"k\xff\xfe"))
    chunk = pq.ParquetFile(sink).metadata.row_group(1).column(0)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    data[start : start + 12] = b"\xff" * 12
    (tmp_path / "x.parquet").write_bytes(data)
    embeddings = ArrayFile(location="library:x.npy", digest="0" * 64)
    source = LinkTable(location="library:x.parquet", digest="0" * 64, images=9, image_embeddings=embeddings)
    table, account = read_links(tmp_path / "x.parquet", source)
    assert table["drop_reason"].to_pylist() == ["", "bad_url", "", *["damaged_page"] * 3, "", "", ""]
    assert (account.seen, account.taken, account.counts) == (9, 5, {"bad_url": 1, "damaged_page": 3})
    assert [url for url in table["source_key"].to_pylist() if url] == [f"http://x/{n}" for n in (0, 2, 6, 7, 8)]
    assert table["caption"].to_pylist()[7] == "k"


NPY_HEADERS = (
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (5, 8), }",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (5000000000, 8), }",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (-5, 8), }",
    b"{'descr': '|O', 'fortran_order': False, 'shape': (5, 8), }",
    b"{'descr': 'nonsense', 'fortran_order': False, 'shape': (5, 8), }",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': 'x', }",
    b"{'descr': '<f4'}",
    b"__import__('os').abort()",
    b"[" * 9_000,
    b"(" * 200 + b")" * 200,
    b"-" * 9_000 + b"1",
    b"\xff" * 100,
    b"{" + b"'a':" * 2_000,
    b"9" * 9_000,
    b"",
)


@pytest.mark.parametrize("header", NPY_HEADERS, ids=lambda header: header[:20].decode("latin-1"))
def test_an_array_with_a_hostile_header_is_refused(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(UnusableEmbeddings):
        read_embeddings(tmp_path / "x.npy", "x.npy", 5, 8)


def test_a_zip_of_arrays_is_no_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", np.zeros((5, 8), np.float32))
    with pytest.raises(UnusableEmbeddings, match=r"not a \.npy array"):
        read_embeddings(tmp_path / "x.npz", "x.npz", 5, 8)


def test_a_description_of_20000_brackets_costs_the_caption_alone(tmp_path: Path, ingest: Ingest) -> None:
    assert json.loads("[" * 500 + "]" * 500)
    data = member("a.png", good_image(0)) + member("a.json", b"[" * 20_000) + b"\0" * 1024
    assert ingest(shard(tmp_path, data, 1)) == (["a"], {})


def test_links_to_hostile_images_end_in_a_reason_each_and_others_arrive() -> None:
    bad = [data for _, data in corpus()][::8]
    answers = {f"http://x/bad-{number}": data for number, data in enumerate(bad)}
    answers |= {f"http://x/good-{number}": good_image(number) for number in range(len(bad))}
    links = [Link(url, link_id(url), "", "random", 0.5, "") for url in answers]

    async def fetch(urls: Sequence[str]) -> AsyncIterator[bytes | str]:
        for url in urls:
            yield answers[url] or "missing_bytes"

    result = asyncio.run(record_images(links, [], 0, fetch, Artifacts(MemoryObjects())))
    assert result.images.count == len(bad) >= 100
    assert sum(result.rejected.values()) == len(bad)
