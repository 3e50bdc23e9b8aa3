"""Shards, folders and link tables as the world delivers them: each fault has a name and none shifts a label."""

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.tiny_images import draw_shape
from touchstone_contracts.account import Named
from touchstone_contracts.catalogue import (
    ArrayFile,
    ClassFolders,
    ImageFolder,
    LinkTable,
    ParquetFile,
    TarShard,
    Upstream,
)
from touchstone_contracts.identity import sha256
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import EARLIER, INGEST_IMAGES
from touchstone_retrieval.ingest.folder_source import images_in, labelled_images, with_captions
from touchstone_retrieval.ingest.given_embeddings import UnusableEmbeddings, read_embeddings
from touchstone_retrieval.ingest.image_set import write_source
from touchstone_retrieval.ingest.link_table import read_links
from touchstone_retrieval.ingest.location_reader import LocationReader
from touchstone_retrieval.ingest.opening import opened
from touchstone_retrieval.ingest.source import UnreadableSource
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.digests import file_digest, listing_digest
from touchstone_runtime.image_sets import BLANK_ID
from touchstone_runtime.library import Library
from touchstone_runtime.objects import MemoryObjects

RNG = np.random.default_rng(0)
PICTURES = [draw_shape("circle", "red", RNG) for _ in range(4)]

Source = ParquetFile | TarShard | ImageFolder | ClassFolders


def ingested(library: Path, source: Source, classes: int | None = None) -> tuple[list[dict[str, Any]], dict[str, int]]:
    artifacts = Artifacts(MemoryObjects())
    with opened(source, LocationReader(Library(library), None), classes) as rows:
        images, account = write_source(rows, artifacts)
    return artifacts.get_table(images.manifest).to_pylist(), account.counts


def tar_bytes(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def shard(library: Path, data: bytes, images: int) -> TarShard:
    (library / "00000.tar").write_bytes(data)
    return TarShard(location="library:00000.tar", digest=sha256(data), images=images)


def test_a_shard_of_img2dataset_gives_its_images_with_their_captions(tmp_path: Path) -> None:
    members = {
        "000000000.jpg": PICTURES[0],
        "000000000.txt": b"a red circle",
        "000000000.json": json.dumps({"caption": "another"}).encode(),
        "000000001.png": PICTURES[1],
        "000000001.json": json.dumps({"caption": "from  json", "url": "http://x"}).encode(),
        "000000002.png": PICTURES[2],
        "000000002.json": b"{broken",
    }
    rows, rejected = ingested(tmp_path, shard(tmp_path, tar_bytes(members), 3))
    assert [(row["source_key"], row["caption"], row["id"]) for row in rows] == [
        ("000000000", "a red circle", sha256(PICTURES[0])),
        ("000000001", "from json", sha256(PICTURES[1])),
        ("000000002", "", sha256(PICTURES[2])),
    ]
    assert rejected == {}


def test_garbage_inside_a_shard_is_counted_and_the_labels_behind_it_stay(tmp_path: Path) -> None:
    members = {"a.png": PICTURES[0], "a.cls": b"2", "b.jpg": b"garbage", "b.cls": b"1", "c.cls": b"3"}
    members |= {"d.png": PICTURES[1], "d.cls": b"0\n"}
    rows, rejected = ingested(tmp_path, shard(tmp_path, tar_bytes(members), 4), classes=4)
    assert [(row["source_key"], row["class_id"], row["source_kind"]) for row in rows] == [
        ("a", 2, "target"),
        ("d", 0, "target"),
    ]
    assert rejected == {"missing_bytes": 1, "undecodable_image": 1}


def test_an_upstream_with_classes_is_an_upstream_and_its_classes_are_noted(tmp_path: Path) -> None:
    """Versions of the ingest before 5 took it for a target, and still do."""
    members = {"a.png": PICTURES[0], "a.txt": b"a cat", "a.cls": b"2", "b.png": PICTURES[1], "b.txt": b"a dog"}
    members |= {"c.png": PICTURES[2], "c.txt": b"an owl", "c.cls": b"no number"}
    source, reader = shard(tmp_path, tar_bytes(members), 3), LocationReader(Library(tmp_path), None)
    found = {}
    for contract in (INGEST_IMAGES, *(each for each in EARLIER.values() if each.name == INGEST_IMAGES.name)):
        artifacts, request = Artifacts(MemoryObjects()), contract.request(source=source)
        with opened(source, reader, labels_as_found=request.labels_as_found) as rows:
            images, account = write_source(rows, artifacts)
        read = artifacts.get_table(images.manifest).to_pylist()
        told = [(row["source_key"], row["caption"], row["class_id"]) for row in read]
        found[contract.version] = told, account.counts, {note: named.names for note, named in account.notes.items()}
    as_labelled: tuple[object, object, object] = ([("a", "a cat", 2)], {"missing_label": 1, "unknown_class": 1}, {})
    as_upstream: tuple[object, object, object] = (
        [("a", "a cat", -1), ("b", "a dog", -1), ("c", "an owl", -1)], {}, {"unused_label": ("a.cls", "c.cls")},
    )  # fmt: skip
    assert found == {5: as_upstream, 4: as_labelled, 3: as_labelled, 2: as_labelled, 1: as_labelled}


def test_a_parquet_file_of_an_upstream_with_classes_is_an_upstream(tmp_path: Path) -> None:
    cells = {"image": PICTURES[:2], "caption": ["a cat", "a dog"], "class_id": [0, 7]}
    pq.write_table(pa.table(cells), tmp_path / "x.parquet")
    source = ParquetFile(location="library:x.parquet", digest=file_digest(tmp_path / "x.parquet"), images=2)
    rows, rejected = ingested(tmp_path, source)
    assert [(row["caption"], row["class_id"], row["source_kind"]) for row in rows] == [
        ("a cat", -1, "upstream"), ("a dog", -1, "upstream"),
    ]  # fmt: skip
    assert rejected == {}


LABELS = {
    "0": 0, "2": 2, " 1\n": 1, "002": 2, "3": "unknown_class", "-1": "unknown_class", "1.5": "unknown_class",
    "1e0": "unknown_class", "owl": "unknown_class", "99999999999999": "unknown_class", "": "missing_label",
}  # fmt: skip


@pytest.mark.parametrize("label", [*LABELS, None])
def test_a_label_of_a_shard_that_is_none_of_the_classes_refuses_its_image_alone(
    tmp_path: Path, label: str | None
) -> None:
    members = {"a.png": PICTURES[0], "a.cls": b"0", "b.png": PICTURES[1]}
    if label is not None:
        members["b.cls"] = label.encode()
    rows, rejected = ingested(tmp_path, shard(tmp_path, tar_bytes(members), 2), classes=3)
    known = LABELS.get(label or "", "missing_label")
    assert [row["class_id"] for row in rows] == ([0, known] if isinstance(known, int) else [0])
    assert rejected == ({} if isinstance(known, int) else {known: 1})


def test_a_shard_of_a_target_without_any_label_is_refused(tmp_path: Path) -> None:
    source = shard(tmp_path, tar_bytes({"a.png": PICTURES[0], "b.png": PICTURES[1]}), 2)
    with pytest.raises(Invalid, match=r"none of 2 images can be used: missing label 2 \(a, b\)"):
        ingested(tmp_path, source, classes=3)


def test_the_same_picture_twice_in_a_shard_is_two_rows_with_one_id(tmp_path: Path) -> None:
    rows, _ = ingested(tmp_path, shard(tmp_path, tar_bytes({"a.png": PICTURES[0], "b.png": PICTURES[0]}), 2))
    assert [row["id"] for row in rows] == [sha256(PICTURES[0])] * 2
    assert [row["source_key"] for row in rows] == ["a", "b"]


@pytest.mark.parametrize(
    ("data", "images", "code"),
    [
        (tar_bytes({"a.png": PICTURES[0], "b.png": PICTURES[1]})[:1100], 2, "wrong_image_count"),
        (tar_bytes({"a.png": PICTURES[0], "b.png": PICTURES[1]})[:1540], 2, "unreadable_source"),
        (tar_bytes({"a.png": PICTURES[0], "b.png": PICTURES[1]}), 3, "wrong_image_count"),
        (b"no tar at all" * 100, 1, "unreadable_source"),
    ],
    ids=[
        "cut off in a header",
        "cut off in an image",
        "another count",
        "no tar",
    ],
)
def test_a_damaged_shard_stops_instead_of_giving_fewer_images(
    tmp_path: Path, data: bytes, images: int, code: str
) -> None:
    with pytest.raises(UnreadableSource) as refused:
        ingested(tmp_path, shard(tmp_path, data, images))
    assert refused.value.code == code


def test_a_shard_ingested_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    source = shard(tmp_path, tar_bytes({"a.png": PICTURES[0], "a.txt": b"x", "b.jpg": b"garbage"}), 2)
    reader = LocationReader(Library(tmp_path), None)
    seen: list[tuple[int, int | None]] = []
    written = []
    for _ in range(2):
        with opened(source, reader) as rows:
            written.append(write_source(rows, Artifacts(MemoryObjects()), lambda *step: seen.append(step)))
    assert written[0] == written[1]
    assert seen == [(2, 2), (2, 2)]


def test_a_shard_with_other_bytes_than_registered_is_refused(tmp_path: Path) -> None:
    source = shard(tmp_path, tar_bytes({"a.png": PICTURES[0]}), 1)
    shard(tmp_path, tar_bytes({"a.png": PICTURES[1]}), 1)
    with pytest.raises(Invalid, match="registered digest"):
        ingested(tmp_path, source)


def folder(library: Path, files: Mapping[str, bytes]) -> ImageFolder:
    root = library / "photos"
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    images = images_in(root)
    digest = listing_digest(root, with_captions(root, images))
    return ImageFolder(location="library:photos", digest=digest, images=len(images))


def test_a_folder_takes_captions_from_its_table_or_from_beside_the_image(tmp_path: Path) -> None:
    files = {
        "metadata.csv": b'file_name,caption\nb.png,"the table, says so"\n',
        "a.png": PICTURES[0],
        "a.txt": b"beside",
        "b.png": PICTURES[1],
        "b.txt": b"overruled",
        "c.PNG": PICTURES[2],
        ".hidden.png": b"no image",
        "notes.md": b"no image",
        "deeper/d.png": PICTURES[3],
    }
    rows, rejected = ingested(tmp_path, folder(tmp_path, files))
    assert [(row["source_key"], row["caption"]) for row in rows] == [
        ("a.png", "beside"),
        ("b.png", "the table, says so"),
        ("c.PNG", ""),
    ]
    assert rejected == {}


def test_a_caption_in_a_wrong_encoding_spoils_itself_alone(tmp_path: Path) -> None:
    table = "file_name,caption\na.png,café\n".encode("latin-1") + "b.png,naïve\n".encode()
    files = {"metadata.csv": table, "a.png": PICTURES[0], "b.png": PICTURES[1], "c.png": PICTURES[2]}
    rows, _ = ingested(tmp_path, folder(tmp_path, files | {"c.txt": "sauté".encode("latin-1")}))
    lost = "\N{REPLACEMENT CHARACTER}"
    assert [row["caption"] for row in rows] == [f"caf{lost}", "naïve", f"saut{lost}"]


@pytest.mark.parametrize(
    ("table", "code"),
    [
        ("file_name,caption\na.png,x\n".encode("utf-16"), "missing_columns"),
        (b"name,words\na.png,x\n", "missing_columns"),
    ],
    ids=["utf-16", "other columns"],
)
def test_a_caption_table_that_cannot_be_matched_stops(tmp_path: Path, table: bytes, code: str) -> None:
    with pytest.raises(UnreadableSource) as refused:
        ingested(tmp_path, folder(tmp_path, {"a.png": PICTURES[0], "metadata.csv": table}))
    assert refused.value.code == code


def test_a_folder_that_changed_since_it_was_registered_is_refused(tmp_path: Path) -> None:
    source = folder(tmp_path, {"a.png": PICTURES[0], "a.txt": b"one"})
    (tmp_path / "photos/a.txt").write_bytes(b"two")
    with pytest.raises(Invalid) as changed:
        ingested(tmp_path, source)
    (tmp_path / "photos/b.png").write_bytes(PICTURES[1])
    with pytest.raises(Invalid) as grown:
        ingested(tmp_path, source)
    assert (changed.value.code, grown.value.code) == ("digest_mismatch", "digest_mismatch")


def class_folders(library: Path, folders: tuple[str, ...]) -> ClassFolders:
    for number, name in enumerate(("wren", "owl", "auk")):
        (library / "birds" / name).mkdir(parents=True, exist_ok=True)
        (library / "birds" / name / "x.png").write_bytes(PICTURES[number])
    root = library / "birds"
    images = labelled_images(root, folders)
    return ClassFolders(
        location="library:birds", digest=listing_digest(root, images), images=len(images), folders=folders
    )


def test_labels_follow_the_registered_folders_and_not_the_alphabet(tmp_path: Path) -> None:
    rows, _ = ingested(tmp_path, class_folders(tmp_path, ("wren", "owl", "auk")))
    assert [(row["source_key"], row["class_id"], row["id"]) for row in rows] == [
        (f"{name}/x.png", number, sha256(PICTURES[number])) for number, name in enumerate(("wren", "owl", "auk"))
    ]


def test_a_missing_class_folder_is_named_and_shifts_no_label(tmp_path: Path) -> None:
    source = class_folders(tmp_path, ("wren", "owl", "auk"))
    (tmp_path / "birds/owl/x.png").unlink()
    (tmp_path / "birds/owl").rmdir()
    with pytest.raises(Invalid, match="class 1 has no folder 'owl'") as refused:
        ingested(tmp_path, source)
    assert refused.value.code == "missing_class_folder"


def test_a_folder_of_no_class_is_named(tmp_path: Path) -> None:
    source = class_folders(tmp_path, ("wren", "auk"))
    with pytest.raises(Invalid, match="'owl'") as refused:
        ingested(tmp_path, source)
    assert refused.value.code == "unknown_class_folder"


def link_table(library: Path, columns: Mapping[str, list[Any]]) -> LinkTable:
    path = library / "links.parquet"
    pq.write_table(pa.table(dict(columns)), path)
    return LinkTable(
        location="library:links.parquet",
        digest=file_digest(path),
        images=len(next(iter(columns.values()))),
        image_embeddings=ArrayFile(location="library:img.npy", digest="0" * 64),
    )


def test_every_row_of_a_link_table_keeps_its_row_number(tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {
        "URL": ["http://x/a", None, "http://x/c", "http://x/d"],
        "TEXT": ["a\ncat", None, "c", "d"],
        "NSFW": ["UNLIKELY", "NSFW", "UNSURE", None],
        "sha256": ["A" * 64, None, "short", None],
        "WIDTH": [640, None, 10, 10],
        "unknown": [1, 2, 3, 4],
    }
    found, account = read_links(tmp_path / "links.parquet", link_table(tmp_path, columns))
    table = found.to_pylist()
    assert [row["source_key"] for row in table] == ["http://x/a", "", "http://x/c", "http://x/d"]
    assert [row["caption"] for row in table] == ["a cat", "", "c", "d"]
    assert [row["drop_reason"] for row in table] == ["", "missing_url", "", ""]
    assert (account.seen, account.taken) == (4, 3)
    assert account.refused == {"missing_url": Named(count=1, names=("row 1",))}
    assert [row["id"] for row in table] == ["a" * 64, BLANK_ID, sha256(b"http://x/c"), sha256(b"http://x/d")]
    assert {row["shard"] for row in table} == {""}
    assert table[0]["width"] == 640


def test_an_unreadable_link_table_says_what_is_wrong(tmp_path: Path) -> None:
    good = link_table(tmp_path, {"url": ["http://x/a"], "caption": ["a"]})
    path = tmp_path / "links.parquet"
    with pytest.raises(UnreadableSource, match="registered were 7"):
        read_links(path, good.model_copy(update={"images": 7}))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UnreadableSource, match="cannot be read as parquet"):
        read_links(path, good)
    captions_only = link_table(tmp_path, {"caption": ["a"]})
    with pytest.raises(UnreadableSource, match="needs a column for url"):
        read_links(path, captions_only)


@pytest.mark.parametrize("precision", [np.float16, np.float32])
def test_given_embeddings_are_taken_over_at_length_one(tmp_path: Path, precision: type) -> None:
    given: np.ndarray = RNG.normal(size=(5, 8)).astype(precision) * 3
    np.save(tmp_path / "img.npy", given)
    taken = read_embeddings(tmp_path / "img.npy", "img.npy", 5, 8)
    assert taken.dtype == np.float16
    wide = given.astype(np.float32)
    np.testing.assert_allclose(taken, wide / np.linalg.norm(wide, axis=1, keepdims=True), atol=1e-3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.ones((4, 8), np.float32), "its table has 5 rows"),
        (np.ones((5, 7), np.float32), "8 dimensions"),
        (np.ones((5, 8), np.float64), "float64"),
        (np.full((5, 8), np.nan, np.float32), "not finite"),
        (np.array([{}], dtype=object), "not a .npy array"),
    ],
    ids=["another number of rows", "another width", "another precision", "not a number", "pickled"],
)
def test_embeddings_that_do_not_fit_their_table_stop(tmp_path: Path, given: np.ndarray, message: str) -> None:
    np.save(tmp_path / "img.npy", given, allow_pickle=True)
    with pytest.raises(UnusableEmbeddings, match=message):
        read_embeddings(tmp_path / "img.npy", "img.npy", 5, 8)


def test_an_upstream_of_links_and_images_cannot_be_written_down(tmp_path: Path) -> None:
    links = link_table(tmp_path, {"url": ["http://x/a"], "caption": ["a"]})
    tar = TarShard(location="s3://shop/00000.tar", digest="0" * 64, images=1)
    with pytest.raises(ValueError, match="images or links, not both"):
        Upstream(name="mixed", shards=(links, tar), index_encoder="clip")
    assert Upstream(name="links", shards=(links,), index_encoder="clip").has_links


@pytest.mark.parametrize("location", ["s3://key:secret@bucket/x.tar", "s3://bucket/../x", "ftp://x/y", "/etc/passwd"])
def test_no_other_location_and_no_credentials_can_be_written_down(location: str) -> None:
    with pytest.raises(ValueError, match="location"):
        TarShard(location=location, digest="0" * 64, images=1)
