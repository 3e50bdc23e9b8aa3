"""Shards as people have them: every member is in a sample, refused by its name, or counted as unused."""

import random
import tarfile
import tempfile
import tracemalloc
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hostile_tars import pax
from support.odd_tars import Put, image, opened_tar, picture, tar
from touchstone_retrieval.ingest.source import UnreadableSource
from touchstone_retrieval.ingest.tar_samples import COMPANIONS, IMAGE_ENDINGS, UNREAD_ENDINGS, index_samples

BLOCK = tarfile.BLOCKSIZE

Found = dict[str, str]
"""Key -> the member whose bytes arrive, or why none do."""


def found_in(folder: Path, data: bytes) -> tuple[Found, dict[str, int]]:
    """What became of the samples, and how many members are unused, by reason."""
    source = opened_tar(folder, data)
    rows = [*source.rows()]
    assert len(rows) == source.count
    return {
        row.key: row.image.decode().removeprefix("pixels of ") if row.image else row.reason or "missing_bytes"
        for row in rows
    }, dict(source.unused.counts)


def text(name: str, words: str = "words") -> Put:
    return Put(name, words.encode())


MEMBERS: list[tuple[str, Sequence[Put], Found, dict[str, int]]] = [
    (
        "numbers behind a dot",
        [image("scene.000.jpg"), image("scene.001.jpg")],
        {"scene.000": "scene.000.jpg", "scene.001": "scene.001.jpg"},
        {},
    ),
    (
        "dots in a key and its companions",
        [image("a.b.jpg"), text("a.b.json"), text("a.b.txt")],
        {"a.b": "a.b.jpg"},
        {},
    ),
    ("a part by WebDataset's convention", [image("x.seg.png"), image("x.jpg")], {"x": "x.jpg"}, {"part_of_sample": 1}),
    ("the same name without its whole", [image("x.seg.png")], {"x.seg": "x.seg.png"}, {}),
    (
        "a part of an image with dots",
        [image("s.000.jpg"), image("s.000.depth.png"), image("s.001.jpg"), text("s.001.depth.txt")],
        {"s.000": "s.000.jpg", "s.001": "s.001.jpg"},
        {"part_of_sample": 2},
    ),
    (
        "a part that is no image",
        [image("x.jpg"), Put("x.npy", b"1"), Put("x.b.json")],
        {"x": "x.jpg"},
        {"part_of_sample": 2},
    ),
    ("dots in folders", [image("v1.2/x.jpg"), image("v1/x.jpg")], {"v1.2/x": "v1.2/x.jpg", "v1/x": "v1/x.jpg"}, {}),
    ("capitals", [image("A.JPG"), image("b.Png")], {"A": "A.JPG", "b": "b.Png"}, {}),
    ("jpg and jpeg", [image("x.jpeg"), image("x.jpg")], {"x": "x.jpg", "x.jpeg": "second_image"}, {}),
    ("jpg and png", [image("x.png"), image("x.jpg")], {"x": "x.jpg", "x.png": "second_image"}, {}),
    ("an ending in two cases", [image("x.jpg"), image("x.JPG")], {"x": "x.JPG", "x.jpg": "second_image"}, {}),
    ("one name twice", [image("x.jpg"), image("x.jpg")], {"x": "duplicate_member"}, {}),
    ("one name in two spellings", [image("x.jpg"), image("./x.jpg")], {"x": "duplicate_member"}, {}),
    (
        "one caption twice",
        [image("x.jpg"), text("x.txt", "first"), text("x.txt", "second")],
        {"x": "x.jpg"},
        {"duplicate_member": 1},
    ),
    ("one class twice", [image("x.jpg"), text("x.cls", "0"), text("x.cls", "1")], {"x": "duplicate_member"}, {}),
    ("a hard link", [image("x.jpg"), Put("y.jpg", kind="hard", to="x.jpg")], {"x": "x.jpg", "y": "x.jpg"}, {}),
    (
        "a hard link to a hard link by another spelling",
        [image("./x.jpg"), Put("y.jpg", kind="hard", to="x.jpg"), Put("z.jpg", kind="hard", to="./y.jpg")],
        {"x": "./x.jpg", "y": "./x.jpg", "z": "./x.jpg"},
        {},
    ),
    (
        "a hard link of a long name",
        [image("d" * 120 + ".jpg"), Put("y.jpg", kind="hard", to="d" * 120 + ".jpg")],
        {"d" * 120: "d" * 120 + ".jpg", "y": "d" * 120 + ".jpg"},
        {},
    ),
    (
        "a hard link to nothing",
        [image("x.jpg"), Put("y.jpg", kind="hard", to="z.jpg")],
        {"x": "x.jpg", "y": "broken_link"},
        {},
    ),
    (
        "a hard link to what comes later",
        [Put("y.jpg", kind="hard", to="x.jpg"), image("x.jpg")],
        {"y": "broken_link", "x": "x.jpg"},
        {},
    ),
    (
        "a symbolic link",
        [image("x.jpg"), Put("y.jpg", kind="symbolic", to="x.jpg")],
        {"x": "x.jpg", "y": "symbolic_link"},
        {},
    ),
    (
        "a symbolic link for a caption",
        [image("x.jpg"), Put("x.txt", kind="symbolic", to="/etc/passwd")],
        {"x": "x.jpg"},
        {},
    ),
    ("a pipe", [Put("x.jpg", kind="pipe"), image("y.jpg")], {"x": "special_file", "y": "y.jpg"}, {}),
    ("a folder", [Put("x.jpg", kind="folder"), image("x.jpg/y.jpg")], {"x.jpg/y": "x.jpg/y.jpg"}, {"folder": 1}),
    (
        "what macOS leaves behind",
        [image("x.jpg"), image("._x.jpg"), Put(".DS_Store"), image("__MACOSX/x.jpg"), image("a/._x.jpg")],
        {"x": "x.jpg"},
        {"hidden_file": 4},
    ),
    (
        "what belongs to no image",
        [image("x.jpg"), text("README.md"), text("LICENSE")],
        {"x": "x.jpg"},
        {"other_file": 2},
    ),
    ("a caption without an image", [image("x.jpg"), text("y.txt")], {"x": "x.jpg", "y": "missing_bytes"}, {}),
    ("a format that is not read", [image("x.heic"), text("x.txt")], {"x": "unread_format"}, {}),
    ("an empty image", [Put("x.jpg")], {"x": "missing_bytes"}, {}),
    (
        "a name of dots",
        [image("x" + "." * 50_000 + "jpg")],
        {("x" + "." * 49_999)[:4096]: "x" + "." * 50_000 + "jpg"},
        {},
    ),
    ("only dots", [image("..."), image("x.jpg")], {"x": "x.jpg"}, {"hidden_file": 1}),
    ("a name that ends in a dot", [image("x."), image("x.jpg")], {"x": "x.jpg"}, {"part_of_sample": 1}),
]


@pytest.mark.parametrize(("members", "expected", "unused"), [case[1:] for case in MEMBERS], ids=[c[0] for c in MEMBERS])
def test_samples_of_a_shard(tmp_path: Path, members: Sequence[Put], expected: Found, unused: dict[str, int]) -> None:
    assert found_in(tmp_path, tar(members)) == (expected, unused)


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_name_in_latin_1_finds_its_caption(tmp_path: Path, format: int) -> None:
    data = tar([image("café.jpg"), text("café.txt", "a café"), image("x.jpg")], format, "latin-1")
    rows = [*opened_tar(tmp_path, data).rows()]
    # The extended headers of POSIX are UTF-8 whatever the archive's own encoding is.
    key = "café" if format == tarfile.PAX_FORMAT else "caf\\udce9"
    assert [(row.key, row.caption) for row in rows] == [(key, "a café"), ("x", "")]


def test_joined_archives_are_read_to_the_end_of_the_last(tmp_path: Path) -> None:
    joined = b"".join(tar([image(f"{name}.jpg"), text(f"{name}.txt")]) for name in "abc")
    assert found_in(tmp_path, joined) == ({name: f"{name}.jpg" for name in "abc"}, {})


def test_an_archive_is_read_behind_one_block_of_zeros(tmp_path: Path) -> None:
    first, second = tar([image("a.jpg")])[: 2 * BLOCK], tar([image("b.jpg")])
    assert found_in(tmp_path, first + b"\0" * BLOCK + second) == ({"a": "a.jpg", "b": "b.jpg"}, {})


def test_joined_archives_with_one_name_refuse_it_by_name(tmp_path: Path) -> None:
    joined = tar([image("0.jpg"), image("1.jpg")]) + tar([image("0.jpg"), image("2.jpg")])
    assert found_in(tmp_path, joined)[0] == {"0": "duplicate_member", "1": "1.jpg", "2": "2.jpg"}


THREE = tar([image("a.jpg"), image("b.jpg"), image("c.jpg")])
SECOND = 2 * BLOCK
"""Where the header of the second member begins."""


HEADER = THREE[SECOND : SECOND + BLOCK]


@pytest.mark.parametrize(
    "spoilt",
    [b"\xff" * BLOCK, b"\0" * 256 + b"\x7f" * 256, HEADER[:257] + b"\xff" * 255, b"x" + HEADER[1:]],
    ids=["overwritten", "half of zeros", "without its magic", "by one byte"],
)
def test_behind_a_damaged_header_everything_is_found(tmp_path: Path, spoilt: bytes) -> None:
    data = THREE[:SECOND] + spoilt + THREE[SECOND + BLOCK :]
    expected = {"a": "a.jpg", f"damaged header at byte {SECOND}": "damaged_member", "c": "c.jpg"}
    assert found_in(tmp_path, data) == (expected, {})


def test_a_member_whose_header_is_zeros_is_lost_and_named_by_its_offset(tmp_path: Path) -> None:
    data = THREE[:SECOND] + b"\0" * BLOCK + THREE[SECOND + BLOCK :]
    lost = f"damaged header at byte {SECOND + BLOCK}"
    assert found_in(tmp_path, data) == ({"a": "a.jpg", lost: "damaged_member", "c": "c.jpg"}, {})


def test_an_archive_without_its_end_is_told_of(tmp_path: Path) -> None:
    source = opened_tar(tmp_path, THREE[: 2 * SECOND])
    assert [row.key for row in source.rows()] == ["a", "b"]
    assert source.unused.names == {"no_end_marker": [f"end at byte {2 * SECOND}"]}


def test_bytes_behind_the_end_are_told_of(tmp_path: Path) -> None:
    found, unused = found_in(tmp_path, THREE + b"signature" * 100)
    assert (len(found), unused) == (3, {"trailing_bytes": 1})


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x1f\x8b\x08" + b"x" * 600, "compressed_tar"),
        (b"BZh9" + b"x" * 600, "compressed_tar"),
        (b"\xfd7zXZ\0" + b"x" * 600, "compressed_tar"),
        (b"\x28\xb5\x2f\xfd", "compressed_tar"),
        (b"PK\3\4" + b"x" * 600, "unreadable_source"),
        (b"short", "unreadable_source"),
        (THREE[: SECOND + BLOCK + 3], "unreadable_source"),
    ],
    ids=["gzip", "bzip2", "xz", "zstd", "zip", "a few bytes", "cut off inside an image"],
)
def test_what_is_no_whole_tar_is_refused_with_its_name(tmp_path: Path, data: bytes, code: str) -> None:
    with pytest.raises(UnreadableSource, match=r"^x\.tar ") as refused:
        opened_tar(tmp_path, data)
    assert refused.value.code == code


@pytest.mark.parametrize("data", [b"", b"\0" * 10_240, tar([])], ids=["no byte", "zeros", "an archive of nothing"])
def test_an_empty_tar_holds_no_sample(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(data)
    assert index_samples(tmp_path / "x.tar", "x.tar").by_key == {}


def test_extended_headers_of_many_keywords_do_not_fill_memory(tmp_path: Path) -> None:
    said = (pax({f"comment.{number}": "x" * 900_000}) for number in range(40))
    data = b"".join(said) + tar([image("x.jpg")])
    assert len(data) > 36_000_000
    (tmp_path / "x.tar").write_bytes(data)
    tracemalloc.start()
    found = index_samples(tmp_path / "x.tar", "x.tar").by_key
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (list(found), most < 10_000_000) == (["x"], True)


ENDINGS = (*IMAGE_ENDINGS[:3], "JPG", UNREAD_ENDINGS[0], *COMPANIONS, "seg.png", "npy", "")
NAMES = st.builds(
    lambda folder, stem, ending: f"{folder}{stem}.{ending}" if ending else f"{folder}{stem}",
    st.sampled_from(["", "./", "d.1/", "__MACOSX/"]),
    st.sampled_from(["a", "a.b", "a.b.c", "b", "._a", "é", "a b"]),
    st.sampled_from(ENDINGS),
)
PUTS = st.builds(
    lambda name, kind, to: Put(name, picture(name) if kind == "file" else b"", kind, to),
    NAMES,
    st.sampled_from(["file", "file", "file", "hard", "symbolic", "folder", "pipe"]),
    NAMES,
)


def accounted(data: bytes) -> tuple[dict[str, set[str]], set[str], int]:
    """Key -> names in its sample, names of unused members, and how many of both there are."""
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(data)
        samples = index_samples(Path(file.name), "x.tar")
    by_key = {key: {member.name for member in members.values()} for key, members in samples.by_key.items()}
    unused = {name for names in samples.unused.names.values() for name in names}
    return by_key, unused, sum(map(len, by_key.values())) + samples.unused.counts.total()


def plain(names: set[str]) -> set[str]:
    return {str(PurePosixPath(name)) for name in names}


@settings(max_examples=400, deadline=None)
@given(st.lists(PUTS, max_size=12))
def test_every_member_is_in_a_sample_or_counted_as_unused(puts: list[Put]) -> None:
    by_key, unused, count = accounted(tar(puts))
    assert plain({put.name for put in puts}) == plain(set().union(unused, *by_key.values()))
    # A name that is there twice is refused once.
    assert len(plain({put.name for put in puts})) <= count <= len(puts)


@settings(max_examples=200, deadline=None)
@given(st.lists(NAMES, max_size=10, unique_by=lambda name: str(PurePosixPath(name))), st.randoms(use_true_random=False))
def test_the_order_of_members_decides_nothing(names: list[str], rng: random.Random) -> None:
    puts = [image(name) for name in names]
    before = accounted(tar(puts))
    rng.shuffle(puts)
    assert accounted(tar(puts)) == before


def test_these_tests_look_at_enough() -> None:
    assert len(MEMBERS) >= 30
