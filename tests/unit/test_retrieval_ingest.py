"""Sources as the world delivers them: labels never shift, nothing undecodable gets in, bytes stay as they are."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from support.tiny_images import draw_shape, write_source
from touchstone_contracts.catalogue import ClusterColumn, ParquetFile
from touchstone_contracts.identity import sha256
from touchstone_contracts.image_sets import ImageSet
from touchstone_contracts.problems import Invalid
from touchstone_retrieval.ingest.captions import MAX_CHARACTERS, clean_caption
from touchstone_retrieval.ingest.image_set import BATCH
from touchstone_retrieval.ingest.image_set import write_source as ingest
from touchstone_retrieval.ingest.parquet_source import ROWS_AT_A_TIME, open_source
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.image_sets import read_images
from touchstone_runtime.objects import MemoryObjects


def picture(number: int, encoding: str = "PNG") -> bytes:
    return draw_shape("circle", "red", np.random.default_rng(number), encoding=encoding)


def bomb() -> bytes:
    """A small file that unpacks to more pixels than allowed."""
    buffer = io.BytesIO()
    Image.new("1", (9000, 9000)).save(buffer, "PNG")
    return buffer.getvalue()


def ingested(folder: Path, rows: list[dict[str, Any]]) -> tuple[pa.Table, list[bytes], dict[str, int], ImageSet]:
    artifacts = Artifacts(MemoryObjects())
    source = write_source(folder, "source", rows)
    images, account = ingest(open_source(folder / "data/source.parquet", source), artifacts)
    table = artifacts.get_table(images.manifest)
    return table, list(read_images(artifacts, table, images.shards)), account.counts, images


def test_every_encoding_keeps_its_bytes(tmp_path: Path) -> None:
    encoded = [picture(i, encoding) for i, encoding in enumerate(("PNG", "WEBP", "JPEG"))]
    rows = [{"key": str(i), "image": data, "caption": f"picture {i}"} for i, data in enumerate(encoded)]
    table, images, rejected, image_set = ingested(tmp_path, rows)
    assert images == encoded
    assert table["id"].to_pylist() == [sha256(data) for data in encoded]
    assert table["caption"].to_pylist() == ["picture 0", "picture 1", "picture 2"]
    assert table["class_id"].to_pylist() == [-1, -1, -1]
    assert set(table["source_kind"].to_pylist()) == {"upstream"}
    assert table["width"].to_pylist() == [32, 32, 32]
    assert (image_set.count, rejected) == (3, {})


def test_a_column_says_which_test_images_belong_together(tmp_path: Path) -> None:
    patients = ["anna", "anna", None, 7]
    rows = [
        {"key": str(number), "image": picture(number), "class_id": 0, "patient": None if name is None else str(name)}
        for number, name in enumerate(patients)
    ]
    source = write_source(tmp_path, "source", rows).model_copy(update={"cluster": ClusterColumn(column="patient")})
    artifacts = Artifacts(MemoryObjects())
    images, _ = ingest(open_source(tmp_path / "data/source.parquet", source), artifacts)
    assert artifacts.get_table(images.manifest)["cluster"].to_pylist() == ["anna", "anna", "", "7"]


def test_a_cluster_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    source = write_source(tmp_path, "source", [{"key": "a", "image": picture(0), "class_id": 0}])
    source = source.model_copy(update={"cluster": ClusterColumn(column="patient")})
    with pytest.raises(Invalid, match="has no column 'patient', only key, image, class_id"):
        open_source(tmp_path / "data/source.parquet", source)


def test_refused_images_are_counted_by_reason_and_shift_no_label(tmp_path: Path) -> None:
    good = [picture(i) for i in range(4)]
    rows: list[dict[str, Any]] = [
        {"key": "a", "image": good[0], "class_id": 0},
        {"key": "b", "image": b"not an image", "class_id": 1},
        {"key": "c", "image": good[1], "class_id": 2},
        {"key": "d", "image": None, "class_id": 3},
        {"key": "e", "image": bomb(), "class_id": 4},
        {"key": "f", "image": good[2][:-40], "class_id": 5},
        {"key": "g", "image": good[3], "class_id": 6},
        {"key": "h", "image": b"", "class_id": 7},
    ]
    table, images, rejected, _ = ingested(tmp_path, rows)
    assert rejected == {"missing_bytes": 2, "too_large": 1, "undecodable_image": 2}
    assert list(zip(table["source_key"].to_pylist(), table["class_id"].to_pylist(), images, strict=True)) == [
        ("a", 0, good[0]),
        ("c", 2, good[1]),
        ("g", 6, good[3]),
    ]
    assert set(table["source_kind"].to_pylist()) == {"target"}


def test_labels_stay_with_their_images_over_many_batches(tmp_path: Path) -> None:
    count = 2 * max(BATCH, ROWS_AT_A_TIME) + 5
    first, second = picture(0), picture(1)
    rows = [
        {"key": str(i), "image": b"junk" if i % 7 == 3 else (first, second)[i % 2], "class_id": i} for i in range(count)
    ]
    table, images, rejected, _ = ingested(tmp_path, rows)
    assert rejected["undecodable_image"] + table.num_rows == count
    for key, class_id, image in zip(
        table["source_key"].to_pylist(), table["class_id"].to_pylist(), images, strict=True
    ):
        assert key == str(class_id)
        assert image == (first, second)[class_id % 2]


def test_the_same_source_gives_the_same_image_set(tmp_path: Path) -> None:
    rows = [{"key": str(i), "image": picture(i), "caption": "x"} for i in range(5)]
    assert ingested(tmp_path, rows)[3] == ingested(tmp_path, rows)[3]


def test_a_wrong_image_count_is_refused(tmp_path: Path) -> None:
    source = write_source(tmp_path, "source", [{"key": "a", "image": picture(0), "caption": ""}])
    wrong = ParquetFile(location=source.location, digest=source.digest, images=2)
    with pytest.raises(Invalid, match="holds 1 images, registered were 2"):
        open_source(tmp_path / "data/source.parquet", wrong)


@pytest.mark.parametrize("column", ["image", "caption"])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    row: dict[str, Any] = {"key": "a", "image": picture(0), "caption": "x"}
    del row[column]
    with pytest.raises(Invalid, match=column):
        ingested(tmp_path, [row])


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "junk.parquet"
    path.write_bytes(b"PAR1 but not really")
    with pytest.raises(Invalid, match="not a parquet file"):
        open_source(path, ParquetFile(location="library:junk.parquet", digest="0" * 64, images=1))


def test_damaged_pages_are_refused(tmp_path: Path) -> None:
    rows = [{"key": str(i), "image": picture(i), "caption": "x"} for i in range(50)]
    source = write_source(tmp_path, "source", rows)
    path = tmp_path / "data/source.parquet"
    data = bytearray(path.read_bytes())
    data[200:2000] = b"\xff" * 1800
    path.write_bytes(bytes(data))
    with pytest.raises(Invalid):
        ingest(open_source(path, source), Artifacts(MemoryObjects()))


@pytest.mark.parametrize(("class_id", "reason"), [(None, "missing_label"), (-1, "unknown_class")])
def test_a_label_that_is_no_class_costs_its_own_row(tmp_path: Path, class_id: int | None, reason: str) -> None:
    rows: list[dict[str, Any]] = [
        {"key": key, "image": picture(number), "class_id": label}
        for number, (key, label) in enumerate([("a", 0), ("b", class_id), ("c", 1)])
    ]
    table, _, rejected, _ = ingested(tmp_path, rows)
    assert list(zip(table["source_key"].to_pylist(), table["class_id"].to_pylist(), strict=True)) == [
        ("a", 0),
        ("c", 1),
    ]
    assert rejected == {reason: 1}


def test_images_that_are_not_bytes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="column image holds string, not encoded bytes"):
        ingested(tmp_path, [{"key": "a", "image": "cat.jpg", "caption": "x"}])


def test_a_source_without_one_usable_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="none of 2 images"):
        ingested(tmp_path, [{"key": str(i), "image": b"junk", "caption": "x"} for i in range(2)])


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        (None, ""),
        ("  two\n lines\t", "two lines"),
        ("null\x00byte", "null byte"),
        (b"caf\xc3\xa9 \xff", "café �"),
        ("zero​width", "zerowidth"),
        ("family 👨‍👩‍👧", "family 👨‍👩‍👧"),
        (12, "12"),
        ("x" * 5000, "x" * MAX_CHARACTERS),
    ],
)
def test_captions_become_one_line_of_text(raw: object, clean: str) -> None:
    assert clean_caption(raw) == clean


def test_bad_captions_do_not_lose_images(tmp_path: Path) -> None:
    rows = [{"key": str(i), "image": picture(i), "caption": caption} for i, caption in enumerate([None, "", "a\x00b"])]
    table, _, rejected, _ = ingested(tmp_path, rows)
    assert table["caption"].to_pylist() == ["", "", "a b"]
    assert rejected == {}
