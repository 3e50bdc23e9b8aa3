"""Every image that a source held is accounted for: taken, or refused with its reason and its name."""

import csv
import io
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_images import draw_shape
from touchstone_contracts.account import MOST_LOSSES, MOST_NAME_CHARACTERS, MOST_NAMES, Account, Named, joined
from touchstone_contracts.catalogue import ClassFolders, ImageFolder, ParquetFile, SourceFiles, TarShard
from touchstone_contracts.identity import sha256
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import EARLIER, ImagesIngested, IngestImages
from touchstone_retrieval.ingest.image_set import write_source
from touchstone_retrieval.ingest.location_reader import LocationReader
from touchstone_retrieval.ingest.opening import opened
from touchstone_retrieval.ingest.reasons import Reasons
from touchstone_retrieval.ingest.tally import Tally, require_few_losses
from touchstone_retrieval.ingest.tar_source import open_tar
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.digests import file_digest, listing_digest
from touchstone_runtime.library import Library
from touchstone_runtime.objects import MemoryObjects

GOOD = draw_shape("circle", "red", np.random.default_rng(0))
KINDS = {"good": GOOD, "junk": b"not an image", "cut": GOOD[: len(GOOD) // 2], "empty": b"", "text": b"<html></html>"}
Source = ParquetFile | TarShard | ImageFolder | ClassFolders | SourceFiles
Images = Mapping[str, bytes]


def tar_of(folder: Path, images: Images) -> TarShard:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in images.items():
            for member, content in ((f"{name}.png", data), (f"{name}.txt", b"a circle")):
                info = tarfile.TarInfo(member)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    (folder / "x.tar").write_bytes(buffer.getvalue())
    return TarShard(location="library:x.tar", digest=sha256(buffer.getvalue()), images=len(images))


def parquet_of(folder: Path, images: Images) -> ParquetFile:
    table = pa.table({"key": list(images), "image": list(images.values()), "caption": ["a circle"] * len(images)})
    pq.write_table(table, folder / "x.parquet")
    digest = file_digest(folder / "x.parquet")
    return ParquetFile(location="library:x.parquet", digest=digest, images=len(images))


def csv_folder_of(folder: Path, images: Images) -> ImageFolder:
    root = folder / "flat"
    root.mkdir()
    files = [root / f"{name}.png" for name in images]
    for file, data in zip(files, images.values(), strict=True):
        file.write_bytes(data)
    with (root / "metadata.csv").open("w", newline="") as table:
        csv.writer(table).writerows([("file_name", "caption"), *((file.name, "a circle") for file in files)])
    digest = listing_digest(root, [*files, root / "metadata.csv"])
    return ImageFolder(location="library:flat", digest=digest, images=len(images))


def class_folders_of(folder: Path, images: Images) -> ClassFolders:
    root, folders = folder / "classes", ("auk", "owl")
    for name in folders:
        (root / name).mkdir(parents=True)
    files = [root / folders[number % 2] / f"{name}.png" for number, name in enumerate(images)]
    for file, data in zip(files, images.values(), strict=True):
        file.write_bytes(data)
    digest = listing_digest(root, files)
    return ClassFolders(location="library:classes", digest=digest, images=len(images), folders=folders)


def labelled_files_of(folder: Path, images: Images) -> SourceFiles:
    """A parquet file, a tar and another parquet file in turn, so far as there are images for them."""
    files = list[ParquetFile | TarShard]()
    for number in range(3):
        part = dict(list(images.items())[number::3])
        if part:
            files.append(labelled_file_of(folder, f"file {number}", part, as_tar=number == 1))
    return SourceFiles(files=tuple(files))


def labelled_file_of(folder: Path, name: str, images: Images, *, as_tar: bool) -> ParquetFile | TarShard:
    path = folder / name
    if not as_tar:
        table = pa.table({"key": list(images), "image": list(images.values()), "label": [0] * len(images)})
        pq.write_table(table, path)
        return ParquetFile(location=f"library:{name}", digest=file_digest(path), images=len(images), classes=2)
    with tarfile.open(path, "w") as tar:
        for key, data in images.items():
            for member, content in ((f"{key}.png", data), (f"{key}.cls", b"0")):
                info = tarfile.TarInfo(member)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return TarShard(location=f"library:{name}", digest=file_digest(path), images=len(images))


def account_of(folder: Path, source: Source) -> Account:
    classes = 2 if isinstance(source, SourceFiles) else None
    with opened(source, LocationReader(Library(folder), None), classes) as rows:
        return write_source(rows, Artifacts(MemoryObjects()))[1]


FORMS: list[Callable[[Path, Images], Source]] = [
    tar_of, parquet_of, csv_folder_of, class_folders_of, labelled_files_of,
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__.removesuffix("_of"))
@settings(max_examples=25, deadline=None)
@given(kinds=st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=12))
def test_every_image_of_any_source_is_taken_or_refused_by_name(
    form: Callable[[Path, Images], Source], kinds: list[str]
) -> None:
    images = {f"{kind}-{number}": KINDS[kind] for number, kind in enumerate(kinds)}
    bad = [name for name in images if not name.startswith("good")]
    with tempfile.TemporaryDirectory() as folder:
        source = form(Path(folder), images)
        if len(bad) == len(images):
            with pytest.raises(Invalid, match=f"none of {len(images)} images can be used") as failure:
                account_of(Path(folder), source)
            assert any(name in failure.value.detail for name in bad)
            return
        account = account_of(Path(folder), source)
    named = [Path(name).name.removesuffix(".png") for each in account.refused.values() for name in each.names]
    assert (account.seen, account.taken) == (len(images), len(images) - len(bad))
    assert sorted(named) == sorted(bad)
    assert account.counts == {reason: len(each.names) for reason, each in account.refused.items()}
    assert account.notes == {}


KEYED = st.lists(
    st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["good", "junk", "empty"]), min_size=1),
    min_size=1,
    max_size=4,
)
"""Of each file: its keys, and what their images are."""


@settings(max_examples=40, deadline=None)
@given(contents=KEYED, tars=st.lists(st.booleans(), min_size=4, max_size=4))
def test_images_of_several_files_are_told_apart_whatever_their_keys(
    contents: list[dict[str, str]], tars: list[bool]
) -> None:
    """Whatever is refused is named with its file, and no two images have one key."""
    with tempfile.TemporaryDirectory() as folder:
        files = tuple(
            labelled_file_of(
                Path(folder), f"{n}", {key: KINDS[kind] + bytes([n]) for key, kind in each.items()}, as_tar=tars[n]
            )
            for n, each in enumerate(contents)
        )
        artifacts, every = Artifacts(MemoryObjects()), [f"{n}/{key}" for n, each in enumerate(contents) for key in each]
        good = [f"{n}/{key}" for n, each in enumerate(contents) for key, kind in each.items() if kind == "good"]
        with opened(SourceFiles(files=files), LocationReader(Library(Path(folder)), None), classes=2) as rows:
            if not good:
                with pytest.raises(Invalid, match=f"none of {len(every)} images can be used"):
                    write_source(rows, artifacts)
                return
            images, account = write_source(rows, artifacts)
    keys = artifacts.get_table(images.manifest)["source_key"].to_pylist()
    refused = [name for named in account.refused.values() for name in named.names]
    assert sorted(refused) == sorted(set(every) - set(good))
    assert len(keys) == len(set(keys)) == len(good) == account.taken
    assert account.seen == len(every)


def test_a_hundred_names_stand_for_any_number_of_refused_images(tmp_path: Path) -> None:
    images = {f"{number:03d}": GOOD if number % 2 else b"junk" for number in range(2 * MOST_NAMES + 40)}
    account = account_of(tmp_path, parquet_of(tmp_path, images))
    refused = account.refused["undecodable_image"]
    assert (account.seen, account.taken, refused.count) == (240, 120, 120)
    assert refused.names == tuple(f"{number:03d}" for number in range(0, 200, 2))
    assert account.refusals == "120 of 240 images refused: undecodable image 120 (000, 002, 004 and 117 more)"


def test_rows_without_a_key_are_named_by_their_number_and_notes_lose_no_image() -> None:
    tally = Tally()
    tally.add("a", "", ("unreadable_caption",))
    tally.add("", "unreadable_value", ())
    tally.add("c", "", ("unreadable_caption", "cut_caption"))
    account = tally.account(Reasons())
    assert (account.seen, account.taken) == (3, 2)
    assert account.refused == {"unreadable_value": Named(count=1, names=("row 1",))}
    assert account.notes == {
        "cut_caption": Named(count=1, names=("c",)),
        "unreadable_caption": Named(count=2, names=("a", "c")),
    }


def test_names_are_short_and_draw_nothing_on_a_terminal() -> None:
    tally = Tally()
    tally.add("\x1b[2Jred\n\u202egnp.exe", "too_large", ())
    tally.add("folder/" * 1000 + "last.jpg", "too_large", ())
    first, second = tally.account(Reasons()).refused["too_large"].names
    assert first == "\\u001b[2Jred\\u000a\\u202egnp.exe"
    assert second.endswith("folder/last.jpg")
    assert len(second) == MOST_NAME_CHARACTERS


def test_an_account_that_does_not_add_up_is_none() -> None:
    with pytest.raises(ValueError, match="4 images were seen, 2 taken and 1 refused"):
        Account(seen=4, taken=2, refused={"too_large": Named(count=1)})
    with pytest.raises(ValueError, match="2 names of 1 images"):
        Named(count=1, names=("a", "b"))


def test_accounts_of_several_files_are_one_with_the_first_hundred_names() -> None:
    each = [
        Account(
            seen=90, taken=20, refused={"too_large": Named(count=70, names=tuple(f"{file}/{n}" for n in range(70)))}
        )
        for file in ("a", "b")
    ]
    found = joined(each)
    assert (found.seen, found.taken, found.counts) == (180, 40, {"too_large": 140})
    assert len(found.refused["too_large"].names) == MOST_NAMES
    assert found.refused["too_large"].names[69:71] == ("a/69", "b/0")
    assert joined([]) == Account()


def test_too_many_losses_stop_the_ingest_with_the_account_and_the_remedy() -> None:
    refused = {
        "undecodable_image": Named(count=2, names=("a.jpg", "b.jpg")),
        "too_large": Named(count=1, names=("c.jpg",)),
    }
    account = Account(seen=4, taken=1, refused=refused)
    with pytest.raises(Invalid) as failure:
        require_few_losses(account, MOST_LOSSES, "library:x.tar")
    assert failure.value.code == "too_many_losses"
    assert failure.value.detail == (
        "library:x.tar: 3 of 4 images refused: undecodable image 2 (a.jpg, b.jpg), too large 1 (c.jpg). That is 75 % "
        "of its images, and at most 5 % may be refused. Mend the source and describe it again; or, to go on without "
        'these images, register it under another name with "most_losses": 0.75 or more'
    )
    require_few_losses(account, 0.75, "library:x.tar")


@pytest.mark.parametrize(("lost", "seen", "stops"), [(0, 10, False), (1, 20, False), (7, 140, False), (1, 19, True)])
def test_the_usual_limit_is_a_twentieth_of_the_images(lost: int, seen: int, stops: bool) -> None:
    refused = {"too_large": Named(count=lost)} if lost else {}
    account = Account(seen=seen, taken=seen - lost, refused=refused)
    if stops:
        with pytest.raises(Invalid, match="at most 5 % may be refused"):
            require_few_losses(account, MOST_LOSSES, "library:x.tar")
    else:
        require_few_losses(account, MOST_LOSSES, "library:x.tar")


def test_ingests_of_version_1_have_no_limit_and_today_s_have_the_usual_one() -> None:
    source = {"format": "parquet", "location": "library:x.parquet", "digest": "0" * 64, "images": 4}
    today, before = (
        request.model_validate({"source": source}) for request in (IngestImages, EARLIER["ingest_images.1"].request)
    )
    assert (today.most_losses, before.most_losses) == (MOST_LOSSES, 1.0)
    assert "most_losses" not in today.model_dump() | before.model_dump()


def test_results_without_an_account_still_say_how_many_were_refused() -> None:
    blob = {"digest": "0" * 64, "size": 1}
    stored = {"images": {"manifest": blob, "shards": [blob], "count": 3}, "rejected": {"too_large": 2}}
    told = ImagesIngested.model_validate(stored).told
    assert told is not None
    assert told.refusals == "2 of 5 images refused: too large 2"
    links = ImagesIngested.model_validate({"images": {"manifest": blob, "shards": [], "count": 3}})
    assert links.told is None


def test_what_belongs_to_no_image_is_in_the_account_by_name(tmp_path: Path) -> None:
    path = tmp_path / "photos.tar"
    with tarfile.open(path, "w") as tar:
        for name, data in (("a.png", GOOD), ("._a.png", b"?"), ("notes.pdf", b"%PDF"), ("a.txt", b"a bar")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    source = open_tar(path, TarShard(location="library:photos.tar", digest="0" * 64, images=1))
    _, account = write_source(source, Artifacts(MemoryObjects()))
    assert (account.seen, account.taken) == (1, 1)
    assert {reason: named.names for reason, named in account.notes.items()} == {
        "hidden_file": ("._a.png",),
        "other_file": ("notes.pdf",),
    }
