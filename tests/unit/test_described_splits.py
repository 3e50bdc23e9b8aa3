"""Splits of several files, as data sets are published, are found, compared and written down in their order."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.archives import tar_of
from support.tiny_images import draw_shape
from touchstone_contracts.catalogue import ImageColumns, ParquetFile, SourceFiles, TargetSplit, single_files
from touchstone_contracts.locations import LocatedDataset, LocatedTarget, LocatedUpstream
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import DescribeSource, SourceDescribed
from touchstone_planning.located import describe_request, document_of
from touchstone_planning.target_checks import check_entry
from touchstone_retrieval.describe import split_files
from touchstone_retrieval.describe.described import described
from touchstone_retrieval.ingest.location_reader import LocationReader
from touchstone_runtime.library import Library
from touchstone_runtime.serving import no_progress

RNG = np.random.default_rng(0)
BIRDS = ["auk", "owl"]


def picture() -> bytes:
    return draw_shape("bar", "red", RNG)


def table(path: Path, labels: Sequence[Any] = (0, 1), classes: Sequence[str] | None = BIRDS, **names: str) -> None:
    """`names`: of the columns image and label, where they are others."""
    image, label = names.get("image", "image"), names.get("label", "label")
    path.parent.mkdir(parents=True, exist_ok=True)
    written = pa.table({image: [picture() for _ in labels], label: pa.array(labels)})
    if classes is not None:
        said = {"info": {"features": {label: {"names": list(classes), "_type": "ClassLabel"}}}}
        written = written.replace_schema_metadata({"huggingface": json.dumps(said)})
    pq.write_table(written, path)


def shard(path: Path, *keys: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    members = dict[str, bytes]()
    for key in keys:
        members |= {f"{key}.png": picture(), f"{key}.cls": b"0"}
    path.write_bytes(tar_of(members))


def describe(library: Path, form: str, *locations: str, **asked: Any) -> SourceDescribed:
    named = {"locations": {"": locations}} | asked
    request = DescribeSource.model_validate({"form": form, "asked": "once"} | named)
    return described(request, LocationReader(Library(library), None), no_progress)


def names(split: TargetSplit) -> list[str]:
    return [file.location.rpartition("/")[2] for file in single_files(split)]


def published(root: Path) -> list[str]:
    """As Hugging Face's library writes a data set."""
    counts = {"train": 3, "validation": 1, "test": 2}
    written = [f"{split}-{n:05d}-of-{count:05d}.parquet" for split, count in counts.items() for n in range(count)]
    for name in written:
        table(root / "data" / name)
    (root / "README.md").write_text("# Birds")
    return written


def test_a_hugging_face_data_set_of_many_files_is_a_target_as_it_is_published(tmp_path: Path) -> None:
    written = published(tmp_path / "birds")
    found = describe(tmp_path, "target", "library:birds")
    assert found.classes == tuple(BIRDS)
    assert [name for split in ("train", "validation", "test") for name in names(found.splits[split])] == written
    assert isinstance(found.splits["train"], SourceFiles)
    assert isinstance(found.splits["validation"], ParquetFile)
    assert {split: each.images for split, each in found.splits.items()} == {"train": 6, "validation": 2, "test": 4}
    assert found.notes == ("left out: 1 files of no split, such as README.md",)
    target = document_of(LocatedTarget(name="birds", location=("library:birds",)), found)
    check_entry(target)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "files",
    [
        ("train/0000.tar", "train/0001.tar", "validation/0000.tar", "test/0000.tar"),
        ("data/train-0.tar", "data/train-1.tar", "data/val-0.tar", "data/test-0.tar"),
        ("TRAIN_0.tar", "TRAIN_1.tar", "dev_0.tar", "Test_0.tar"),
        ("birds1k-train-0.tar", "birds1k-train-1.tar", "birds1k-validation-0.tar", "birds1k-test-0.tar"),
        ("shards/my.train.0.tar", "shards/my.train.1.tar", "shards/my.valid.0.tar", "shards/my.testing.0.tar"),
        ("partial-train/0.tar", "partial-train/1.tar", "partial-val/0.tar", "partial-test/0.tar"),
    ],
)
def test_splits_are_recognised_by_the_names_that_are_usual(tmp_path: Path, files: Sequence[str]) -> None:
    for file in files:
        shard(tmp_path / "set" / file, file)
    found = describe(tmp_path, "target", "library:set", classes=BIRDS)
    assert {split: len(single_files(each)) for split, each in found.splits.items()} == {
        "train": 2, "validation": 1, "test": 1,
    }  # fmt: skip


def test_a_word_within_a_name_counts_only_where_no_name_begins_with_a_split(tmp_path: Path) -> None:
    for file in ("val.tar", "test.tar", "my-test-run.tar", "tested.tar", "train-or-test.tar"):
        shard(tmp_path / "set" / file, file)
    found = describe(tmp_path, "target", "library:set", classes=BIRDS)
    assert {split: names(each) for split, each in found.splits.items()} == {
        "train": ["train-or-test.tar"], "validation": ["val.tar"], "test": ["test.tar"],
    }  # fmt: skip
    assert found.notes[0].startswith("left out: 2 files of no split")


@pytest.mark.parametrize(
    "locations",
    [("library:set/train",), ("library:set/train/*.tar",), ("library:set/train/a.tar", "library:set/train/b.tar")],
)
def test_a_split_is_a_folder_a_pattern_or_a_list(tmp_path: Path, locations: Sequence[str]) -> None:
    for file in ("train/b.tar", "train/a.tar", "held-out.tar", "later.tar"):
        shard(tmp_path / "set" / file, file)
    splits = {"train": locations, "validation": ["library:set/held-out.tar"], "test": ["library:set/later.tar"]}
    found = describe(tmp_path, "target", locations=splits, classes=BIRDS)
    assert names(found.splits["train"]) == ["a.tar", "b.tar"]
    data_set = describe(tmp_path, "dataset", *locations, classes=BIRDS)
    assert names(data_set.splits[""]) == ["a.tar", "b.tar"]


def test_files_of_a_list_keep_its_order_and_are_counted_once(tmp_path: Path) -> None:
    for name in "abc":
        shard(tmp_path / "set" / f"{name}.tar", name)
    found = describe(tmp_path, "dataset", "library:set/c.tar", "library:set/*.tar", classes=BIRDS)
    assert names(found.splits[""]) == ["c.tar", "a.tar", "b.tar"]


@pytest.mark.parametrize("other", [["auk", "gull"], ["auk", "owl", "gull"], ["auk"], []])
def test_files_that_name_other_classes_are_refused_with_both_names(tmp_path: Path, other: list[str]) -> None:
    published(tmp_path / "birds")
    table(tmp_path / "birds/data/test-00001-of-00002.parquet", [0], other)
    with pytest.raises(Invalid, match=r"birds/data/test-00001-of-00002\.parquet name other classes") as refused:
        describe(tmp_path, "target", "library:birds")
    assert refused.value.code == "other_classes"
    assert "library:birds/data/test-00000-of-00002.parquet and " in refused.value.detail


def test_the_classes_in_another_order_are_read_by_their_names(tmp_path: Path) -> None:
    published(tmp_path / "birds")
    table(tmp_path / "birds/data/test-00001-of-00002.parquet", [0, 1], BIRDS[::-1])
    found = describe(tmp_path, "target", "library:birds")
    files = [file for split in found.splits.values() for file in single_files(split)]
    assert {file.labels for file in files if isinstance(file, ParquetFile)} == {found.classes}
    assert len(files) == 6
    assert len(found.classes) == 2


def test_classes_that_are_given_say_what_files_without_names_mean(tmp_path: Path) -> None:
    for name, classes in (("val-0", BIRDS), ("val-1", None), ("test", None)):
        table(tmp_path / "set" / f"{name}.parquet", [0, 1], classes)
    found = describe(tmp_path, "target", "library:set", classes=BIRDS[::-1])
    first, second = single_files(found.splits["validation"])
    assert isinstance(first, ParquetFile)
    assert isinstance(second, ParquetFile)
    assert (first.labels, second.classes) == (("owl", "auk"), 2)
    table(tmp_path / "set" / "test.parquet", [0, 1], ["owl", "auk", "gull"])
    with pytest.raises(Invalid, match=r"only library:set/test\.parquet has gull") as refused:
        describe(tmp_path, "target", "library:set", classes=BIRDS)
    assert refused.value.code == "other_classes"


def test_files_without_an_image_are_left_out_and_told(tmp_path: Path) -> None:
    for name, rows in (("train-0", 2), ("train-1", 0), ("val", 1), ("test", 1)):
        table(tmp_path / "set" / f"{name}.parquet", [0] * rows)
    found = describe(tmp_path, "target", "library:set")
    assert isinstance(found.splits["train"], ParquetFile)
    assert "left out: library:set/train-1.parquet holds no image" in found.notes
    table(tmp_path / "set" / "train-0.parquet", [])
    with pytest.raises(Invalid, match="the 2 files of split train hold no image") as refused:
        describe(tmp_path, "target", "library:set")
    assert refused.value.code == "empty_shard"


def test_a_file_that_is_in_a_split_twice_is_refused_by_name(tmp_path: Path) -> None:
    shard(tmp_path / "set" / "a.tar", "a")
    (tmp_path / "set" / "copy.tar").write_bytes((tmp_path / "set" / "a.tar").read_bytes())
    with pytest.raises(Invalid, match=r"library:set/a\.tar and library:set/copy\.tar hold the same bytes") as refused:
        describe(tmp_path, "dataset", "library:set", classes=BIRDS)
    assert refused.value.code == "repeated_file"


def test_a_file_that_is_in_two_splits_is_refused_by_name_when_it_is_registered(tmp_path: Path) -> None:
    published(tmp_path / "birds")
    one, other = (tmp_path / f"birds/data/{name}-00001.parquet" for name in ("train", "test"))
    table(one)
    other.write_bytes(one.read_bytes())
    found, asked = (
        describe(tmp_path, "target", "library:birds"),
        LocatedTarget(name="birds", location=("library:birds",)),
    )
    with pytest.raises(Invalid) as refused:
        check_entry(document_of(asked, found))  # type: ignore[arg-type]
    assert refused.value.code == "splits_overlap"
    (error,) = refused.value.errors
    assert (error.pointer, error.detail) == (
        "/splits/train/files/2",
        "library:birds/data/train-00001.parquet, the same bytes as library:birds/data/test-00001.parquet, "
        "is in 'test' and in 'train'",
    )


def test_more_files_than_a_split_may_have_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published(tmp_path / "birds")
    monkeypatch.setattr(split_files, "MOST_FILES", 2)
    with pytest.raises(Invalid, match="split train has 3 files, and 2 are the most") as refused:
        describe(tmp_path, "target", "library:birds")
    assert refused.value.code == "too_many_shards"


def test_a_split_without_a_file_of_the_layout_is_named(tmp_path: Path) -> None:
    shard(tmp_path / "set" / "val.tar", "a")
    table(tmp_path / "set" / "test.parquet")
    with pytest.raises(Invalid, match=r"split test has no file of layout webdataset, only such as test\.parquet"):
        describe(tmp_path, "target", "library:set", classes=BIRDS, layout="webdataset")


def test_progress_counts_the_files_of_all_splits(tmp_path: Path) -> None:
    published(tmp_path / "birds")
    told = list[tuple[int, int | None]]()
    request = DescribeSource(form="target", locations={"": ("library:birds",)}, asked="once")
    described(request, LocationReader(Library(tmp_path), None), lambda done, total: told.append((done, total)))
    assert told == [(number, 6) for number in range(6)]


# ------------------------------------------------------------------------------------------------ names of columns


def located(library: Path, asked: LocatedUpstream | LocatedTarget | LocatedDataset, *classes: str) -> Any:
    """The document that it leads to."""
    request = describe_request(asked, "once", classes)
    return document_of(asked, described(request, LocationReader(Library(library), None), no_progress))


def test_columns_of_a_registration_by_location_are_read(tmp_path: Path) -> None:
    for split in ("val", "test-0", "test-1"):
        table(tmp_path / "set" / f"{split}.parquet", image="bild", label="art")
    columns = ImageColumns(image="bild", label="art")
    target = located(tmp_path, LocatedTarget(name="birds", location=("library:set",), columns=columns))
    files = [file for split in target.splits.by_name.values() for file in single_files(split)]
    assert [file.columns for file in files if isinstance(file, ParquetFile)] == [columns] * 3
    assert [label.display_name for label in target.classes] == BIRDS
    asked = LocatedDataset(name="more", target="birds", location=("library:set/val.parquet",), columns=columns)
    assert located(tmp_path, asked, *BIRDS).images.columns == columns


def test_columns_of_an_upstream_are_read(tmp_path: Path) -> None:
    written = pa.table({"bild": [picture()], "alt_text": ["a bird"], "url": ["https://example.org/a.png"]})
    pq.write_table(written, tmp_path / "images.parquet")
    asked = LocatedUpstream.model_validate(
        {
            "name": "birds",
            "location": "library:images.parquet",
            "index_encoder": "clip",
            "columns": {"image": "bild", "caption": "alt_text"},
        }
    )
    (images,) = located(tmp_path, asked).shards
    assert images.columns == ImageColumns(image="bild", caption="alt_text")


def test_columns_of_a_table_of_links_are_read(tmp_path: Path) -> None:
    written = pa.table({"link": ["https://example.org/a.png"], "alt": ["a bird"]})
    pq.write_table(written, tmp_path / "metadata_0.parquet")
    np.save(tmp_path / "img_emb_0.npy", np.zeros((1, 4), np.float32))
    columns = {"url": "link", "caption": "alt"}
    (links,) = describe(tmp_path, "upstream", "library:metadata_0.parquet", columns=columns).shards
    assert links.format == "links"
    assert links.columns.model_dump(exclude_none=True) == columns
    with pytest.raises(Invalid, match=r"these files have columns for url, .* and none for key") as refused:
        describe(tmp_path, "upstream", "library:metadata_0.parquet", columns=columns | {"key": "id"})
    assert refused.value.code == "bad_column"


def test_a_column_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    published(tmp_path / "birds")
    with pytest.raises(Invalid, match="has no column 'img', only image, label") as refused:
        describe(tmp_path, "target", "library:birds", columns={"image": "img"})
    assert refused.value.code == "missing_columns"


@pytest.mark.parametrize(("form", "file"), [("target", "val.tar"), ("dataset", "val.tar"), ("upstream", "val.tar")])
def test_columns_of_files_that_have_none_are_refused(tmp_path: Path, form: str, file: str) -> None:
    shard(tmp_path / "set" / file, "a")
    shard(tmp_path / "set" / "test.tar", "b")
    with pytest.raises(Invalid, match="the files are of layout webdataset, which has none") as refused:
        describe(tmp_path, form, "library:set", columns={"image": "img"})
    assert refused.value.code == "bad_column"


@pytest.mark.parametrize(
    ("model", "asked", "path"),
    [
        (LocatedUpstream, {"columns": {"img": "x"}}, ("columns", "img")),
        (LocatedUpstream, {"columns": {"label": "x"}}, ("columns", "label")),
        (LocatedUpstream, {"columns": {"image": ""}}, ("columns", "image")),
        (LocatedTarget, {"columns": {"url": "x"}}, ("columns", "url")),
        (LocatedTarget, {"layout": "webdataset", "columns": {"image": "x"}}, ("columns",)),
        (LocatedDataset, {"layout": "class_folders", "columns": {"image": "x"}, "target": "birds"}, ("columns",)),
    ],
)
def test_what_no_column_holds_is_refused_at_its_path(model: Any, asked: dict[str, Any], path: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="columns") as refused:
        model.model_validate({"name": "birds", "location": "library:x"} | asked)
    assert [error["loc"] for error in refused.value.errors()] == [path]  # type: ignore[attr-defined]


def test_what_names_no_columns_is_asked_for_as_before() -> None:
    for asked in (
        LocatedUpstream(name="birds", location=("library:x",)),
        LocatedTarget(name="birds", location=("library:x",)),
        LocatedDataset(name="birds", target="owls", location=("library:x",)),
    ):
        assert "columns" not in asked.model_dump(mode="json")
        assert "columns" not in describe_request(asked, "once").model_dump(mode="json")
