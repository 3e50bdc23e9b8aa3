"""Parquet files of images as they are published: every row is taken or refused by name, whatever the columns are."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from support.tiny_images import draw_shape
from touchstone_contracts.account import Account
from touchstone_contracts.catalogue import ImageColumns, ParquetFile
from touchstone_contracts.class_lists import ClassLine
from touchstone_contracts.problems import Invalid
from touchstone_retrieval.describe.tables import columns_of, describe_parquet, named_columns, open_labelled
from touchstone_retrieval.ingest.image_set import write_source
from touchstone_retrieval.ingest.location_reader import LocationReader
from touchstone_retrieval.ingest.opening import opened
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.digests import file_digest
from touchstone_runtime.library import Library
from touchstone_runtime.objects import MemoryObjects

PICTURES = [draw_shape("circle", "red", np.random.default_rng(number)) for number in range(6)]
HUGGING_FACE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
NAMES = ["cat", "dog", "owl"]


def hugging_face(values: Sequence[tuple[bytes | None, str | None] | None]) -> pa.Array:
    rows = [None if value is None else {"bytes": value[0], "path": value[1]} for value in values]
    return pa.array(rows, HUGGING_FACE)


def with_class_label(table: pa.Table, column: str = "label", names: Sequence[str] = NAMES) -> pa.Table:
    feature = {"names": list(names), "_type": "ClassLabel"}
    said = {"info": {"features": {"image": {"_type": "Image"}, column: feature}}}
    return table.replace_schema_metadata({"huggingface": json.dumps(said)})


def registered(folder: Path, table: pa.Table, row_group: int = 100, **said: Any) -> ParquetFile:
    pq.write_table(table, folder / "x.parquet", row_group_size=row_group)
    digest = file_digest(folder / "x.parquet")
    return ParquetFile(location="library:x.parquet", digest=digest, images=table.num_rows, **said)


def ingested(
    folder: Path, table: pa.Table, row_group: int = 100, of_target: int | None = None, **said: Any
) -> tuple[list[dict[str, Any]], Account]:
    """Rows that were taken, and the account. `of_target`: how many classes it has."""
    artifacts, source = Artifacts(MemoryObjects()), registered(folder, table, row_group, **said)
    with opened(source, LocationReader(Library(folder), None), of_target) as rows:
        images, account = write_source(rows, artifacts)
    return artifacts.get_table(images.manifest).to_pylist(), account


def labels_in(rows: Sequence[dict[str, Any]]) -> list[int]:
    return [row["class_id"] for row in rows]


def test_a_file_of_hugging_face_gives_images_and_captions(tmp_path: Path) -> None:
    images = hugging_face([(PICTURES[0], "a.png"), (PICTURES[1], None), (None, "c.png"), None, (b"", None)])
    rows, account = ingested(tmp_path, pa.table({"image": images, "text": list("abcde")}))
    assert [(row["caption"], row["source_kind"]) for row in rows] == [("a", "upstream"), ("b", "upstream")]
    assert (account.seen, account.taken) == (5, 2)
    assert account.counts == {"image_elsewhere": 1, "missing_bytes": 2}


def test_a_path_that_is_no_utf8_costs_no_image(tmp_path: Path) -> None:
    struct = pa.StructArray.from_arrays(
        [pa.array([PICTURES[0]]), pa.array([b"caf\xe9.png"]).view(pa.string())], names=["bytes", "path"]
    )
    rows, account = ingested(tmp_path, pa.table({"image": struct, "text": ["a"]}))
    assert (len(rows), account.taken, account.refused) == (1, 1, {})


@pytest.mark.parametrize("kind", [pa.list_(pa.binary()), pa.large_list(pa.large_binary()), pa.list_(HUGGING_FACE)])
def test_a_list_of_one_image_is_that_image_and_any_other_list_is_refused(tmp_path: Path, kind: pa.DataType) -> None:
    in_struct = pa.types.is_struct(kind.value_type)
    values = [{"bytes": picture, "path": None} if in_struct else picture for picture in PICTURES[:2]]
    images = pa.array([values[:1], values, [], None], kind)
    rows, account = ingested(tmp_path, pa.table({"image": images, "text": list("abcd"), "key": list("abcd")}))
    assert [row["source_key"] for row in rows] == ["a"]
    assert {reason: named.names for reason, named in account.refused.items()} == {
        "missing_bytes": ("c", "d"),
        "several_images": ("b",),
    }


@pytest.mark.parametrize("binary", [pa.binary(), pa.large_binary(), pa.binary_view()])
@pytest.mark.parametrize("text", [pa.string(), pa.large_string(), pa.string_view()])
def test_every_arrow_type_of_bytes_and_text_is_read(tmp_path: Path, binary: pa.DataType, text: pa.DataType) -> None:
    table = pa.table({
        "image": pa.array(PICTURES[:3], binary),
        "text": pa.array(["a", None, "c"], text),
        "key": pa.array(["x", "y", "z"], text),
    })  # fmt: skip
    rows, account = ingested(tmp_path, table)
    assert [(row["source_key"], row["caption"]) for row in rows] == [("x", "a"), ("y", ""), ("z", "c")]
    assert (account.seen, account.refused) == (3, {})


def test_dictionaries_are_read_as_what_they_stand_for(tmp_path: Path) -> None:
    table = pa.table({
        "image": pa.array([PICTURES[0], PICTURES[1], PICTURES[0]]).dictionary_encode(),
        "label": pa.array(["dog", "cat", "dog"]).dictionary_encode(),
    })  # fmt: skip
    rows, account = ingested(tmp_path, table, labels=("cat", "dog"))
    assert labels_in(rows) == [1, 0, 1]
    assert account.taken == 3


@pytest.mark.parametrize("row_group", [1, 2, 5, 300, 1000])
def test_row_groups_of_any_size_keep_rows_in_their_order(tmp_path: Path, row_group: int) -> None:
    count = 600
    table = pa.table({
        "image": [PICTURES[number % 6] if number % 50 else None for number in range(count)],
        "text": [f"caption {number}" for number in range(count)],
    })  # fmt: skip
    rows, account = ingested(tmp_path, table, row_group)
    assert [row["caption"] for row in rows] == [f"caption {number}" for number in range(count) if number % 50]
    assert (account.seen, account.counts) == (600, {"missing_bytes": 12})


def test_made_keys_are_stable_and_differ_between_files(tmp_path: Path) -> None:
    found = []
    for caption in ("one", "one", "two"):
        rows, _ = ingested(tmp_path, pa.table({"image": PICTURES[:3], "text": [caption] * 3}))
        found.append([row["source_key"] for row in rows])
    assert found[0] == found[1]
    assert len({key for keys in found[1:] for key in keys}) == 6
    assert found[0][2] == f"{found[0][0][:12]}-000000002"


def test_a_row_without_a_key_is_called_by_its_number_among_others(tmp_path: Path) -> None:
    rows, account = ingested(tmp_path, pa.table({"key": ["a", None, ""], "image": PICTURES[:3], "text": list("abc")}))
    assert rows[0]["source_key"] == "a"
    assert [row["source_key"][12:] for row in rows[1:]] == ["-000000001", "-000000002"]
    assert account.taken == 3


def test_of_a_list_of_captions_the_first_text_counts(tmp_path: Path) -> None:
    captions = [["", "first", "second"], [], None, [None], ["only"]]
    rows, account = ingested(tmp_path, pa.table({"image": PICTURES[:5], "caption": captions}))
    assert [row["caption"] for row in rows] == ["first", "", "", "", "only"]
    assert account.notes["unreadable_caption"].count == 1


def test_a_blank_caption_gives_way_to_the_text_beside_it(tmp_path: Path) -> None:
    table = pa.table({"image": PICTURES[:3], "text": ["a", "b", None], "caption": [None, "c", None]})
    rows, _ = ingested(tmp_path, table)
    assert [row["caption"] for row in rows] == ["a", "c", ""]


def test_a_caption_that_is_no_text_is_noted_and_costs_no_image(tmp_path: Path) -> None:
    rows, account = ingested(tmp_path, pa.table({"key": ["a"], "image": PICTURES[:1], "caption": [{"en": "a cat"}]}))
    assert [row["caption"] for row in rows] == [""]
    assert account.notes["unreadable_caption"].names == ("a",)


def test_numbers_are_class_ids_and_those_beyond_the_classes_are_refused(tmp_path: Path) -> None:
    table = pa.table({"key": list("abcdef"), "image": PICTURES, "label": [0, 1, 2, -1, None, 1]})
    rows, account = ingested(tmp_path, table, classes=2)
    assert [(row["source_key"], row["class_id"]) for row in rows] == [("a", 0), ("b", 1), ("f", 1)]
    assert account.refused["unknown_class"].names == ("c", "d")
    assert account.refused["missing_label"].names == ("e",)
    assert account.seen == 6


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0, 2, 3, -1, 5], {}),
        ([0.0, 2.0, 3.0, 0.5, -1.0], {}),
        ([0, 2, 3, 4, -1], {"classes": 5}),
        ([0, 2, 3, 1000, 9], {"labels": ("0", "1", "2", "3")}),
    ],
)
def test_a_label_that_is_none_of_the_targets_classes_is_refused_whatever_the_document_says(
    tmp_path: Path, labels: list[float], said: dict[str, Any]
) -> None:
    table = pa.table({"key": list("abcde"), "image": PICTURES[:5], "label": labels})
    rows, account = ingested(tmp_path, table, of_target=3, **said)
    assert [(row["source_key"], row["class_id"]) for row in rows] == [("a", 0), ("b", 2)]
    assert {reason: named.names for reason, named in account.refused.items()} == {"unknown_class": ("c", "d", "e")}


def test_a_file_of_a_target_needs_labels(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"needs a column for label"):
        ingested(tmp_path, pa.table({"image": PICTURES[:2], "text": ["a", "b"]}), of_target=3)


def test_whole_numbers_stored_as_floats_are_class_ids(tmp_path: Path) -> None:
    table = pa.table({"image": PICTURES[:4], "label": [1.0, float("nan"), 0.5, 0.0]})
    rows, account = ingested(tmp_path, table, classes=2)
    assert labels_in(rows) == [1, 0]
    assert account.counts == {"missing_label": 1, "unknown_class": 1}


def test_names_of_a_class_label_say_which_class_a_number_means(tmp_path: Path) -> None:
    table = with_class_label(pa.table({"image": PICTURES[:5], "label": [0, 1, 2, 3, -1]}))
    rows, account = ingested(tmp_path, table, labels=("owl", "cat"))
    assert labels_in(rows) == [1, 0]
    assert account.counts == {"unknown_class": 3}


def test_class_names_are_found_in_either_form_of_unicode(tmp_path: Path) -> None:
    table = pa.table({"image": PICTURES[:3], "label": ["cafe\u0301 ", "th\u00e9", "tea"]})
    rows, account = ingested(tmp_path, table, labels=("caf\u00e9", "the\u0301"))
    assert labels_in(rows) == [0, 1]
    assert account.counts == {"unknown_class": 1}


def test_other_numbers_may_stand_for_classes(tmp_path: Path) -> None:
    table = pa.table({"image": PICTURES[:4], "label": [281, 7, 340, 281]})
    rows, account = ingested(tmp_path, table, labels=("281", "340"))
    assert labels_in(rows) == [0, 1, 0]
    assert account.counts == {"unknown_class": 1}


def test_a_list_of_one_label_is_that_label(tmp_path: Path) -> None:
    rows, account = ingested(tmp_path, pa.table({"image": PICTURES[:3], "label": [[1], [0, 1], []]}), classes=2)
    assert labels_in(rows) == [1]
    assert account.counts == {"missing_label": 1, "several_labels": 1}


def test_words_that_nobody_explained_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="say in `labels`") as refused:
        ingested(tmp_path, pa.table({"image": PICTURES[:2], "label": ["cat", "dog"]}))
    assert refused.value.code == "labels_needed"


def test_a_label_beside_captions_makes_no_target(tmp_path: Path) -> None:
    table = pa.table({"image": PICTURES[:2], "text": ["a", "b"], "label": ["good", "bad"]})
    rows, _ = ingested(tmp_path, table)
    assert [(row["source_kind"], row["class_id"]) for row in rows] == [("upstream", -1)] * 2


def test_columns_are_found_by_other_usual_names_and_in_any_case(tmp_path: Path) -> None:
    table = pa.table({"__key__": ["a", "b"], "jpg": PICTURES[:2], "TEXT": ["x", "y"], "json": ["{}", "{}"]})
    rows, _ = ingested(tmp_path, table)
    assert [(row["source_key"], row["caption"]) for row in rows] == [("a", "x"), ("b", "y")]


def test_columns_that_the_registration_names_count_before_usual_ones(tmp_path: Path) -> None:
    table = pa.table({
        "image": ["a.png", "b.png"], "pixels": PICTURES[:2], "text": ["x", "y"], "beschreibung": ["u", "v"],
        "nr": [10, 11],
    })  # fmt: skip
    said = ImageColumns(image="pixels", caption="beschreibung", key="nr")
    rows, _ = ingested(tmp_path, table, columns=said)
    assert [(row["source_key"], row["caption"]) for row in rows] == [("10", "u"), ("11", "v")]


@pytest.mark.parametrize("sought", ["key", "image", "caption", "label"])
def test_a_named_column_that_is_not_there_is_refused(tmp_path: Path, sought: str) -> None:
    table = pa.table({"image": PICTURES[:1], "text": ["a"], "label": [0]})
    with pytest.raises(Invalid, match="has no column 'gone', only image, text, label") as refused:
        ingested(tmp_path, table, columns=ImageColumns.model_validate({sought: "gone"}))
    assert refused.value.code == "missing_columns"


def test_a_file_without_images_says_which_names_would_be_found(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"needs a column for image \(image, img, .*\), and has only foto, text"):
        ingested(tmp_path, pa.table({"foto": PICTURES[:1], "text": ["a"]}))


def test_labels_must_differ_and_are_counted_once() -> None:
    good = {"location": "library:x.parquet", "digest": "0" * 64, "images": 1}
    assert ParquetFile.model_validate(good | {"labels": ["a", "b"]}).most_classes == 2
    for bad in ({"labels": ["a", "a"]}, {"labels": ["a", "b"], "classes": 2}, {"classes": 1}):
        with pytest.raises(ValidationError):
            ParquetFile.model_validate(good | bad)


def described(folder: Path, table: pa.Table, *names: str, columns: ImageColumns | None = None) -> ParquetFile:
    pq.write_table(table, folder / "x.parquet")
    lines = [ClassLine(name, name) for name in names]
    reader = LocationReader(Library(folder), None)
    return open_labelled("library:x.parquet", columns or ImageColumns(), reader).described(lines)


def test_a_split_is_described_with_what_its_labels_mean(tmp_path: Path) -> None:
    numbers = pa.table({"img": PICTURES[:2], "label": [0, 1]})
    assert described(tmp_path, numbers, "auk", "owl").classes == 2
    assert described(tmp_path, with_class_label(numbers), "owl", "cat").labels == ("owl", "cat")
    words = pa.table({"img": PICTURES[:2], "label": ["auk", "owl"]})
    assert described(tmp_path, words, "owl", "auk").labels == ("owl", "auk")
    with pytest.raises(Invalid, match=r"has no class 'auk' \(nor 0 more of the list\); it calls its classes cat, dog"):
        described(tmp_path, with_class_label(numbers), "cat", "auk")


def test_a_description_checks_the_columns_before_anything_is_registered(tmp_path: Path) -> None:
    pq.write_table(pa.table({"bild": PICTURES[:1], "text": ["a"]}), tmp_path / "x.parquet")
    reader = LocationReader(Library(tmp_path), None)
    with pytest.raises(Invalid, match="needs a column for image"):
        describe_parquet("library:x.parquet", reader, ImageColumns())
    said = columns_of(ImageColumns, named_columns(["image=bild"]))
    assert describe_parquet("library:x.parquet", reader, said).columns == said
    for wrong in ("image", "image=", "picture=bild"):
        with pytest.raises(Invalid) as refused:
            columns_of(ImageColumns, named_columns([wrong]))
        assert refused.value.code == "bad_column"


IMAGES = st.sampled_from(["good", "junk", "empty", "null", "elsewhere"])
LABELS = st.sampled_from([0, 1, 2, 7, -1, None])
KEYS = st.sampled_from(["given", "null"])
FORMS = st.sampled_from(["binary", "large", "view", "struct", "list"])
BYTES = {"good": PICTURES[0], "junk": b"not an image", "empty": b""}


def image_column(form: str, images: Sequence[str]) -> pa.Array:
    data = [BYTES.get(image) for image in images]
    match form:
        case "struct":
            paths = ["x.png" if image == "elsewhere" else None for image in images]
            return hugging_face(list(zip(data, paths, strict=True)))
        case "list":
            return pa.array([None if each is None else [each] for each in data], pa.list_(pa.binary()))
        case "large":
            return pa.array(data, pa.large_binary())
        case "view":
            return pa.array(data, pa.binary_view())
        case _:
            return pa.array(data, pa.binary())


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.tuples(IMAGES, LABELS, KEYS), min_size=1, max_size=12),
    form=FORMS,
    row_group=st.integers(1, 12),
    named=st.booleans(),
)
def test_every_row_of_any_published_file_is_taken_or_refused_by_name(
    rows: list[tuple[str, int | None, str]], form: str, row_group: int, named: bool
) -> None:
    images, labels, keys = zip(*rows, strict=True)
    table = pa.table({
        "image": image_column(form, images),
        "label": pa.array(labels, pa.int64()),
        "key": pa.array([f"row-{n}" if key == "given" else None for n, key in enumerate(keys)], pa.string()),
    })  # fmt: skip
    said: dict[str, Any] = {"labels": ("cat", "dog", "owl")} if named else {"classes": 3}
    if named:
        table = with_class_label(table)
    good = [n for n, (image, label, _) in enumerate(rows) if image == "good" and label in (0, 1, 2)]
    with tempfile.TemporaryDirectory() as folder:
        if not good:
            with pytest.raises(Invalid, match=f"none of {len(rows)} images can be used"):
                ingested(Path(folder), table, row_group, **said)
            return
        taken, account = ingested(Path(folder), table, row_group, **said)
    refused = [name for each in account.refused.values() for name in each.names]
    expected = [f"row-{n}" if key == "given" else f"-{n:09d}" for n, key in enumerate(keys)]
    assert (account.seen, account.taken) == (len(rows), len(good))
    assert labels_in(taken) == [labels[n] for n in good]
    ends = [name if name.startswith("row-") else name[12:] for name in [row["source_key"] for row in taken] + refused]
    assert sorted(ends) == sorted(expected)
