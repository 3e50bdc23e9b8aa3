"""Folders as cameras and editors leave them: every file is an image, says something of one, or is told of."""

import io
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.tiny_images import draw_shape
from touchstone_contracts.account import MOST_LOSSES, Account
from touchstone_contracts.catalogue import ClassFolders, ImageFolder
from touchstone_contracts.media_types import media_type
from touchstone_contracts.problems import Invalid
from touchstone_retrieval.describe.__main__ import main as describe
from touchstone_retrieval.ingest.folder_source import images_in, labelled_images, with_captions
from touchstone_retrieval.ingest.image_set import write_source
from touchstone_retrieval.ingest.location_reader import LocationReader
from touchstone_retrieval.ingest.opening import opened
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.decoding import decode_image
from touchstone_runtime.digests import listing_digest
from touchstone_runtime.library import Library
from touchstone_runtime.objects import MemoryObjects

GOOD = draw_shape("circle", "red", np.random.default_rng(0))
LOCATION = "library:photos"


def encoded(encoding: str, size: tuple[int, int] = (20, 10)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, "red").save(buffer, encoding)
    return buffer.getvalue()


def written(library: Path, files: Mapping[str, bytes]) -> Path:
    root = library / "photos"
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def came_in(library: Path, source: ImageFolder | ClassFolders) -> tuple[list[dict[str, Any]], Account]:
    artifacts = Artifacts(MemoryObjects())
    with opened(source, LocationReader(Library(library), None)) as rows:
        images, account = write_source(rows, artifacts)
    return artifacts.get_table(images.manifest).to_pylist(), account


def flat(library: Path, files: Mapping[str, bytes]) -> tuple[list[dict[str, Any]], Account]:
    root = written(library, files)
    images = images_in(root)
    digest = listing_digest(root, with_captions(root, images))
    return came_in(library, ImageFolder(location=LOCATION, digest=digest, images=len(images)))


def by_class(library: Path, files: Mapping[str, bytes]) -> tuple[list[dict[str, Any]], Account]:
    root = written(library, files)
    folders = ("auk", "owl")
    for folder in folders:
        (root / folder).mkdir(exist_ok=True)
    images = labelled_images(root, folders)
    digest = listing_digest(root, images)
    return came_in(library, ClassFolders(location=LOCATION, digest=digest, images=len(images), folders=folders))


def told(named: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    return {reason: each.names for reason, each in named.items()}


@pytest.mark.parametrize(
    ("image", "text"),
    [("a.jpg", "a.txt"), ("a.JPG", "a.TXT"), ("a.jpeg", "a.TXT"), ("a.JPEG", "a.Txt"), ("a.WEBP", "a.txt")],
)
def test_endings_of_any_case_are_images_and_captions(tmp_path: Path, image: str, text: str) -> None:
    rows, account = flat(tmp_path, {image: GOOD, text: b"a red circle"})
    assert [(row["source_key"], row["caption"]) for row in rows] == [(image, "a red circle")]
    assert account.notes == {}


def test_of_two_texts_for_an_image_the_plain_one_counts_and_the_other_is_told_of(tmp_path: Path) -> None:
    rows, account = flat(tmp_path, {"a.png": GOOD, "a.txt": b"plain", "a.TXT": b"capital"})
    assert [row["caption"] for row in rows] == ["plain"]
    assert told(account.notes) == {"caption_without_image": ("a.TXT",)}


def test_a_change_of_a_caption_in_capitals_is_noticed(tmp_path: Path) -> None:
    root = written(tmp_path, {"a.png": GOOD, "a.TXT": b"one"})
    digest = listing_digest(root, with_captions(root, images_in(root)))
    source = ImageFolder(location=LOCATION, digest=digest, images=1)
    (root / "a.TXT").write_bytes(b"two")
    with pytest.raises(Invalid) as refused:
        came_in(tmp_path, source)
    assert refused.value.code == "digest_mismatch"


@pytest.mark.parametrize("ending", ["heic", "HEIC", "heif", "jxl", "svg", "psd"])
@pytest.mark.parametrize("read", [flat, by_class], ids=["flat", "by class"])
def test_a_format_that_is_not_read_is_refused_by_name(tmp_path: Path, ending: str, read: Any) -> None:
    folder = "" if read is flat else "auk/"
    _, account = read(tmp_path, {f"{folder}good.png": GOOD, f"{folder}phone.{ending}": b"?"})
    assert (account.seen, account.taken) == (2, 1)
    assert told(account.refused) == {"unread_format": (f"{folder}phone.{ending}",)}


@pytest.mark.parametrize("size", [(20, 10), (3000, 2000)])
@pytest.mark.parametrize("read", [flat, by_class], ids=["flat", "by class"])
def test_avif_is_read(tmp_path: Path, read: Any, size: tuple[int, int]) -> None:
    folder = "" if read is flat else "owl/"
    rows, account = read(tmp_path, {f"{folder}a.avif": encoded("AVIF", size), f"{folder}b.AVIF": b"no image"})
    assert [(row["width"], row["height"]) for row in rows] == [size]
    assert told(account.refused) == {"undecodable_image": (f"{folder}b.AVIF",)}
    assert decode_image(encoded("AVIF", size)).size == size


def test_images_are_shown_as_what_they_are() -> None:
    encodings = ("AVIF", "PNG", "JPEG", "WEBP", "GIF")
    assert [media_type(encoded(each)) for each in encodings] == [f"image/{each.lower()}" for each in encodings]
    assert media_type(b"\0\0\0\x18ftypheic") == "application/octet-stream"


def test_files_that_are_no_images_are_told_of(tmp_path: Path) -> None:
    files = {
        "a.png": GOOD,
        "a.txt": b"a circle",
        "metadata.jsonl": b'{"file_name": "a.png", "caption": "a red circle"}\n',
        "Thumbs.db": b"?",
        "notes.pdf": b"?",
        "gone.txt": b"of no image",
        ".DS_Store": b"?",
        "deeper/b.png": GOOD,
    }
    rows, account = flat(tmp_path, files)
    assert [row["caption"] for row in rows] == ["a red circle"]
    assert told(account.notes) == {
        "caption_without_image": ("gone.txt",),
        "hidden_file": (".DS_Store",),
        "other_file": ("Thumbs.db", "notes.pdf"),
    }


def test_files_that_are_no_images_in_class_folders_are_told_of(tmp_path: Path) -> None:
    files = {
        "README": b"?",
        "auk/a.png": GOOD,
        "auk/a.txt": b"?",
        "auk/deeper/clip.mp4": b"?",
        "owl/._b.png": b"?",
        ".git/config": b"?",
    }
    _, account = by_class(tmp_path, files)
    assert (account.seen, account.taken) == (1, 1)
    assert told(account.notes) == {
        "hidden_file": (".git/config", "owl/._b.png"),
        "other_file": ("README", "auk/a.txt", "auk/deeper/clip.mp4"),
    }


def test_describe_tells_of_them_before_anything_is_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TOUCHSTONE_LIBRARY", str(tmp_path))
    written(tmp_path, {"a.png": GOOD, "b.HEIC": b"?", "Thumbs.db": b"?"})
    describe(("upstream", "u", LOCATION, "--form", "image_folder", "--index-encoder", "clip"))
    out, said = capsys.readouterr()
    [shard] = json.loads(out)["upstreams"][0]["shards"]
    assert shard["images"] == 2
    assert said.splitlines() == [f"{LOCATION}: 1 other_file (Thumbs.db)"]


@pytest.mark.parametrize("share", ["0.2", "1", "0"])
@pytest.mark.parametrize("kind", ["upstream", "target", "dataset"])
def test_describe_sets_the_limit_of_losses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str, share: str
) -> None:
    monkeypatch.setenv("TOUCHSTONE_LIBRARY", str(tmp_path))
    for name in ("photos", "more"):
        for folder in ("auk", "owl"):
            (tmp_path / name / folder).mkdir(parents=True)
            (tmp_path / name / folder / "a.png").write_bytes(GOOD + name.encode())
    (tmp_path / "classes.txt").write_text("auk\nowl\n")
    labelled = ("--form", "class_folders", "--classes", str(tmp_path / "classes.txt"))
    arguments = {
        "upstream": ("upstream", "x", LOCATION, "--form", "image_folder", "--index-encoder", "clip"),
        "target": (
            *("target", "x", *labelled, "--validation", LOCATION, "--test", "library:more"),
            *("--template", "a {name}"),
        ),
        "dataset": ("dataset", "x", LOCATION, "--target", "t", *labelled),
    }[kind]
    limits = []
    for further in ((), ("--most-losses", share)):
        describe((*arguments, *further))
        [described] = json.loads(capsys.readouterr().out)[f"{kind}s"]
        limits.append(described.get("most_losses", MOST_LOSSES))
    assert limits == [MOST_LOSSES, float(share)]


def test_describe_refuses_a_limit_that_is_no_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOUCHSTONE_LIBRARY", str(tmp_path))
    written(tmp_path, {"a.png": GOOD})
    limit = ("--most-losses", "5")
    with pytest.raises(SystemExit, match="less than or equal to 1"):
        describe(("upstream", "u", LOCATION, "--form", "image_folder", "--index-encoder", "clip", *limit))


STEMS = st.sampled_from(["a", "b", "c", ".d", "e e", "f.g"])
ENDINGS = st.sampled_from(["png", "PNG", "jpg", "webp", "avif", "heic", "txt", "TXT", "pdf", "mp4", ""])
NAMES = st.builds(lambda stem, ending: f"{stem}.{ending}" if ending else stem, STEMS, ENDINGS)
FOLDERS = st.dictionaries(NAMES, st.sampled_from([GOOD, b"junk", b""]), max_size=10)


@settings(max_examples=60, deadline=None)
@given(FOLDERS, st.sampled_from([flat, by_class]))
def test_every_file_of_a_folder_is_taken_refused_used_or_told_of(files: dict[str, bytes], read: Any) -> None:
    folder = "" if read is flat else "auk/"
    there = {f"{folder}{name}": data for name, data in files.items()} | {f"{folder}sure.png": GOOD}
    with tempfile.TemporaryDirectory() as root:
        rows, account = read(Path(root), there)
    taken = {row["source_key"] for row in rows}
    refused = {name for names in told(account.refused).values() for name in names}
    noted = {name for names in told(account.notes).values() for name in names}
    captions = {name for name in there if name.lower().endswith(".txt") and read is flat} - noted
    assert account.seen == account.taken + account.losses == len(taken) + len(refused)
    assert taken | refused | noted | captions == set(there)
    assert len(taken) + len(refused) + len(noted) + len(captions) == len(there)
    assert all(Path(image).suffix.lower() != ".heic" for image in taken)
