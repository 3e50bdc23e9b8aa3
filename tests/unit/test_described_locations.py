"""What lies at a location is recognised by looking, and written down as `describe` would."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from support.archives import tar_of
from support.tiny_images import draw_shape
from touchstone_contracts.catalogue import ClassFolders, ImageFolder, ParquetFile, TarShard
from touchstone_contracts.locations import LocatedUpstream
from touchstone_contracts.problems import Invalid
from touchstone_contracts.sources import AllowedSources, SourceNotAllowed
from touchstone_contracts.steps import DescribeSource, SourceDescribed
from touchstone_retrieval.describe.described import described
from touchstone_retrieval.ingest.location_reader import LocationReader
from touchstone_runtime.library import Library
from touchstone_runtime.serving import no_progress

RNG = np.random.default_rng(0)


def picture() -> bytes:
    return draw_shape("bar", "red", RNG)


def shard(path: Path, *keys: str, label: str = "txt") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    members = dict[str, bytes]()
    for key in keys:
        members |= {f"{key}.png": picture(), f"{key}.{label}": b"0"}
    path.write_bytes(tar_of(members))


def images(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture())


def table(path: Path, rows: list[dict[str, Any]], classes: list[str] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    written = pa.Table.from_pylist(rows)
    if classes:
        said = {"info": {"features": {"image": {"_type": "Image"}, "label": {"names": classes, "_type": "ClassLabel"}}}}
        written = written.replace_schema_metadata({"huggingface": json.dumps(said)})
    pq.write_table(written, path)


def describe(library: Path, form: str, *locations: str, **asked: Any) -> SourceDescribed:
    named = {"locations": {"": locations}} | asked
    request = DescribeSource.model_validate({"form": form, "asked": "once"} | named)
    return described(request, LocationReader(Library(library), None), no_progress)


def test_tar_shards_below_a_folder_are_an_upstream_by_name(tmp_path: Path) -> None:
    shard(tmp_path / "my birds" / "1.tar", "a", "b")
    shard(tmp_path / "my birds" / "0.TAR", "c")
    (tmp_path / "my birds" / "0_stats.json").write_text("{}")
    found = describe(tmp_path, "upstream", "library:my birds")
    assert [(each.location, each.images) for each in found.shards] == [
        ("library:my birds/0.TAR", 1), ("library:my birds/1.tar", 2),
    ]  # fmt: skip
    assert all(isinstance(each, TarShard) for each in found.shards)


def test_a_pattern_chooses_among_files(tmp_path: Path) -> None:
    for name in ("train-0.tar", "train-1.tar", "test-0.tar", "deep/train-2.tar"):
        shard(tmp_path / "set" / name, name)
    flat = describe(tmp_path, "upstream", "library:set/train-*.tar")
    deep = describe(tmp_path, "upstream", "library:set/**/train-*.tar")
    assert [each.location for each in flat.shards] == ["library:set/train-0.tar", "library:set/train-1.tar"]
    assert len(deep.shards) == 3
    with pytest.raises(Invalid, match=r"no file matches library:set/\*.zip; below library:set there are 4 files"):
        describe(tmp_path, "upstream", "library:set/*.zip")


def test_several_locations_are_one_upstream_and_none_is_counted_twice(tmp_path: Path) -> None:
    for name in ("a.tar", "b.tar"):
        shard(tmp_path / name, name)
    found = describe(tmp_path, "upstream", "library:b.tar", "library:*.tar")
    assert [each.location for each in found.shards] == ["library:b.tar", "library:a.tar"]


def test_folders_of_images_are_an_upstream(tmp_path: Path) -> None:
    images(tmp_path / "photos of birds", "one.png", "more/two.png")
    (tmp_path / "photos of birds" / "metadata.csv").write_text("file_name,caption\none.png,a bird\ngone.png,nothing\n")
    found = describe(tmp_path, "upstream", "library:photos of birds")
    assert [each.location for each in found.shards] == ["library:photos of birds", "library:photos of birds/more"]
    assert all(isinstance(each, ImageFolder) for each in found.shards)
    assert "gone.png" in found.notes[0]


def test_a_parquet_file_of_images_and_one_of_links_are_told_apart(tmp_path: Path) -> None:
    table(tmp_path / "images.parquet", [{"image": {"bytes": picture(), "path": "a"}, "text": "a bird"}])
    (shard_found,) = describe(tmp_path, "upstream", "library:images.parquet").shards
    assert isinstance(shard_found, ParquetFile)
    table(tmp_path / "metadata_0.parquet", [{"url": "https://example.org/a.jpg", "caption": "a bird"}])
    without = describe(tmp_path, "upstream", "library:metadata_0.parquet")
    assert "can be found by captions alone" in without.notes[0]
    np.save(tmp_path / "img_emb_0.npy", np.zeros((1, 4), np.float32))
    (links,) = describe(tmp_path, "upstream", "library:metadata_0.parquet").shards
    assert links.format == "links"


def test_what_fits_no_layout_is_refused_with_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "odd").mkdir()
    for name in ("a.zip", "b.zip", "README.md"):
        (tmp_path / "odd" / name).write_bytes(b"x")
    with pytest.raises(Invalid, match=r"2 with .zip and 1 with .md") as refused:
        describe(tmp_path, "upstream", "library:odd")
    assert refused.value.code == "unknown_layout"
    with pytest.raises(Invalid, match="no file is at library:nothing"):
        describe(tmp_path, "upstream", "library:nothing")


def test_files_of_two_kinds_need_a_word(tmp_path: Path) -> None:
    shard(tmp_path / "mixed" / "a.tar", "a")
    images(tmp_path / "mixed", "preview.png")
    with pytest.raises(Invalid, match="found 1 tar shards and 1 images") as refused:
        describe(tmp_path, "upstream", "library:mixed")
    assert refused.value.code == "unknown_layout"
    (found,) = describe(tmp_path, "upstream", "library:mixed", layout="webdataset").shards
    assert found.format == "webdataset"


def test_a_shard_without_an_image_is_left_out_and_told(tmp_path: Path) -> None:
    shard(tmp_path / "set" / "full.tar", "a")
    shard(tmp_path / "set" / "empty.tar")
    found = describe(tmp_path, "upstream", "library:set")
    assert len(found.shards) == 1
    assert found.notes == ("left out: library:set/empty.tar holds no image",)
    (tmp_path / "set" / "full.tar").unlink()
    with pytest.raises(Invalid, match="none of the 1 files"):
        describe(tmp_path, "upstream", "library:set")


def test_class_folders_below_one_location_are_a_target(tmp_path: Path) -> None:
    for split in ("Train", "val", "test"):
        images(tmp_path / "icons" / "set 1" / split, "snowy_owl/1.png", "barn owl/2.png", "barn owl/more/3.png")
    found = describe(tmp_path, "target", "library:icons")
    assert sorted(found.splits) == ["test", "train", "validation"]
    assert found.classes == ("barn owl", "snowy owl")
    validation = found.splits["validation"]
    assert isinstance(validation, ClassFolders)
    assert (validation.location, validation.folders, validation.images) == (
        "library:icons/set 1/val", ("barn owl", "snowy_owl"), 3,
    )  # fmt: skip


def test_classes_that_are_given_decide_the_order_of_ids(tmp_path: Path) -> None:
    for split in ("validation", "test"):
        images(tmp_path / "icons" / split, "snowy_owl/1.png", "barn_owl/2.png")
    found = describe(tmp_path, "target", "library:icons", classes=("snowy owl", "barn_owl"))
    assert found.splits["test"].folders == ("snowy_owl", "barn_owl")  # type: ignore[union-attr]
    assert found.classes == ("snowy owl", "barn_owl")
    with pytest.raises(Invalid, match="class 1 has no folder 'tawny owl'"):
        describe(tmp_path, "target", "library:icons", classes=("snowy owl", "tawny owl"))


def test_a_class_that_one_split_lacks_is_named(tmp_path: Path) -> None:
    images(tmp_path / "icons" / "val", "a/1.png", "b/2.png", "c/3.png")
    images(tmp_path / "icons" / "test", "a/1.png", "b/2.png")
    with pytest.raises(Invalid, match="class 2 has no folder 'c' in library:icons/test"):
        describe(tmp_path, "target", "library:icons")


def test_a_target_without_validation_is_refused_with_what_was_found(tmp_path: Path) -> None:
    images(tmp_path / "icons" / "train", "a/1.png", "b/2.png")
    images(tmp_path / "icons" / "test", "a/1.png", "b/2.png")
    images(tmp_path / "icons", "cover.png")
    with pytest.raises(Invalid, match=r"no validation split: found test .2 files.* and train") as refused:
        describe(tmp_path, "target", "library:icons")
    assert refused.value.code == "missing_split"
    assert "1 files of no split, such as cover.png" in refused.value.detail


def test_each_split_may_have_a_location_of_its_own(tmp_path: Path) -> None:
    for folder in ("held out", "later"):
        images(tmp_path / folder, "a/1.png", "b/2.png")
    found = describe(
        tmp_path, "target", locations={"validation": ["library:held out"], "test": ["library:later"]}, layout=None
    )
    assert {split: each.location for split, each in found.splits.items()} == {  # type: ignore[union-attr]
        "validation": "library:held out", "test": "library:later",
    }  # fmt: skip


def test_a_hugging_face_parquet_target_names_its_classes(tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        rows = [{"image": {"bytes": picture(), "path": "a"}, "label": 0}]
        table(tmp_path / "data" / f"{split}-00000-of-00001.parquet", rows, ["barn owl", "snowy owl"])
    found = describe(tmp_path, "target", "library:data")
    assert found.classes == ("barn owl", "snowy owl")
    assert {split: each.images for split, each in found.splits.items()} == dict.fromkeys(
        ("train", "validation", "test"), 1
    )


def test_shards_of_a_target_need_the_names_of_its_classes(tmp_path: Path) -> None:
    for name in ("val.tar", "test.tar"):
        shard(tmp_path / "set" / name, "a", label="cls")
    with pytest.raises(Invalid, match="name them in `classes`"):
        describe(tmp_path, "target", "library:set")
    found = describe(tmp_path, "target", "library:set", classes=("owl", "crow"))
    assert {split: each.format for split, each in found.splits.items()} == dict.fromkeys(
        ("validation", "test"), "webdataset"
    )


def test_a_data_set_is_one_split_with_the_classes_of_its_target(tmp_path: Path) -> None:
    images(tmp_path / "bought", "photos/barn_owl/1.png", "photos/snowy_owl/2.png")
    found = describe(tmp_path, "dataset", "library:bought", classes=("snowy owl", "barn owl"))
    assert found.splits[""].location == "library:bought/photos"  # type: ignore[union-attr]
    assert found.splits[""].folders == ("snowy_owl", "barn_owl")  # type: ignore[union-attr]


def test_what_is_not_allowed_is_not_looked_for(tmp_path: Path) -> None:
    images(tmp_path / "secret", "a.png")
    request = DescribeSource.model_validate(
        {"form": "upstream", "asked": "once", "locations": {"": ["library:secret/*.png"]}}
    )
    reader = LocationReader(Library(tmp_path, AllowedSources(library=("open",))), None)
    with pytest.raises(SourceNotAllowed, match="library:secret may not be read"):
        described(request, reader, no_progress)


def test_blanks_in_the_address_of_a_file_are_encoded() -> None:
    asked = LocatedUpstream(name="birds", location=("https://example.org/my photos/0.tar", "library:my photos"))
    assert asked.location == ("https://example.org/my%20photos/0.tar", "library:my photos")


@pytest.mark.parametrize(
    "location",
    [
        "../photos", "photos", "", "library:.hidden", "ftp://example.org/0.tar", "https://example.org",
        "https://example.org/0.tar?token=s3cret", "https://me:s3cret@example.org/0.tar", "https://example.org/0.tar\n",
    ],
)  # fmt: skip
def test_what_is_no_location_is_told_which_there_are(location: str) -> None:
    with pytest.raises(ValidationError) as caught:
        LocatedUpstream(name="birds", location=(location,))
    error = caught.value.errors()[0]
    assert "Allowed are hf://datasets/OWNER/NAME" in error["msg"]
    assert "s3cret" not in error["msg"]
