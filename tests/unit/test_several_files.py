"""A split of several files is one source: read file after file, with keys that differ and one account."""

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from support.tiny_images import draw_shape
from touchstone_contracts.account import Account
from touchstone_contracts.catalogue import (
    MOST_FILES,
    ClusterColumn,
    ClusterOfKey,
    ParquetFile,
    SourceFiles,
    Target,
    TarShard,
)
from touchstone_contracts.identity import identity, sha256
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import INGEST_IMAGES, IngestImages
from touchstone_planning.dag import ingest_request
from touchstone_retrieval.ingest.image_set import write_source
from touchstone_retrieval.ingest.location_reader import LocationReader
from touchstone_retrieval.ingest.opening import opened
from touchstone_retrieval.ingest.several_files import file_names
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.digests import file_digest
from touchstone_runtime.done_items import DoneItems
from touchstone_runtime.library import Library
from touchstone_runtime.objects import MemoryObjects
from touchstone_runtime.savepoints import StepSavepoints

RNG = np.random.default_rng(0)
Rows = Sequence[Mapping[str, Any]]


def picture() -> bytes:
    return draw_shape("circle", "red", RNG)


def parquet(folder: Path, name: str, rows: Rows, **fields: Any) -> ParquetFile:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([{"image": picture()} | dict(row) for row in rows]), path)
    return ParquetFile(location=f"library:{name}", digest=file_digest(path), images=len(rows), **fields)


def tar(folder: Path, name: str, members: Mapping[str, bytes]) -> TarShard:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for member, data in members.items():
            info = tarfile.TarInfo(member)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    images = sum(member.endswith(".png") for member in members)
    return TarShard(location=f"library:{name}", digest=file_digest(path), images=images)


def labelled(*keys: str, class_id: int = 0) -> dict[str, bytes]:
    pictures = {f"{key}.png": picture() for key in keys}
    return pictures | {f"{key}.cls": str(class_id).encode() for key in keys}


def ingested(
    folder: Path, source: SourceFiles, done: DoneItems | None = None, artifacts: Artifacts | None = None
) -> tuple[list[dict[str, Any]], Account]:
    artifacts = artifacts or Artifacts(MemoryObjects())
    with opened(source, LocationReader(Library(folder), None), classes=3) as rows:
        images, account = write_source(rows, artifacts, done=done)
    return artifacts.get_table(images.manifest).to_pylist(), account


def file_of(name: str, images: int = 5) -> ParquetFile:
    return ParquetFile(location=f"library:{name}", digest=sha256(name.encode()), images=images)


def test_digest_and_images_follow_from_the_files() -> None:
    files = SourceFiles(files=(file_of("a", 2), file_of("b", 3)))
    assert files.images == 5
    assert files.digest == sha256((sha256(b"a") + sha256(b"b")).encode())
    assert files.digest != SourceFiles(files=files.files[::-1]).digest
    assert set(files.model_dump(mode="json")) == {"format", "files", "cluster"}
    assert SourceFiles.model_validate(files.model_dump(mode="json")) == files


def test_the_identity_of_a_step_follows_the_files_and_not_their_locations() -> None:
    files = SourceFiles(files=(file_of("a"), file_of("b")))
    moved = SourceFiles(files=tuple(file.model_copy(update={"location": "s3://shop/x"}) for file in files.files[:1]))
    assert identity(moved) == identity(SourceFiles(files=files.files[:1]))
    steps = {
        INGEST_IMAGES.step_id(ingest_request(source, 0.05, 3))
        for source in (files, SourceFiles(files=files.files[::-1]), files.files[0])
    }
    assert len(steps) == 3
    by_key = files.model_copy(update={"cluster": ClusterOfKey(remove="x")})
    assert ingest_request(by_key, 0.05, 3) == ingest_request(files, 0.05, 3)
    assert ingest_request(files, 0.05, 3) == IngestImages(source=files, classes=3)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"files": [file_of("a"), file_of("b"), file_of("a")]}, "library:a and library:a hold the same bytes"),
        (
            {"files": [file_of("a"), file_of("b").model_copy(update={"digest": sha256(b"a")})]},
            "library:a and library:b hold the same bytes: leave one of them out",
        ),
        (
            {"files": [file_of("a").model_copy(update={"cluster": ClusterColumn(column="x")})]},
            "library:a names clusters",
        ),
        (
            {
                "files": [TarShard(location="library:a.tar", digest="0" * 64, images=1)],
                "cluster": ClusterColumn(column="x"),
            },
            "library:a.tar has no column",
        ),
        ({"files": []}, "at least 1"),
        ({"files": [file_of(str(number)) for number in range(MOST_FILES + 1)]}, f"at most {MOST_FILES}"),
    ],
)
def test_what_is_no_split_is_refused_with_the_file(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        SourceFiles(**changed)


def test_a_file_with_labels_of_other_classes_than_the_target_has_is_named() -> None:
    files = SourceFiles(files=(file_of("a"), file_of("b").model_copy(update={"classes": 4})))
    named = {
        "name": "birds",
        "classes": [{"id": number, "display_name": str(number)} for number in range(3)],
        "templates": {name: ["a {name}"] for name in ("retrieval", "filter", "zero_shot", "synthesis")},
        "splits": {"validation": file_of("c"), "test": files},
    }
    with pytest.raises(ValidationError, match="library:b of test has labels of 4 classes, the target has 3"):
        Target.model_validate(named)


def test_files_of_both_forms_are_read_in_their_order(tmp_path: Path) -> None:
    files = (
        parquet(tmp_path, "data/b.parquet", [{"key": "x", "label": 1}, {"key": "y", "label": 2}]),
        tar(tmp_path, "data/a.tar", labelled("u", "v", class_id=2)),
        parquet(tmp_path, "data/a.parquet", [{"label": 0}]),
    )
    rows, account = ingested(tmp_path, SourceFiles(files=files))
    made = f"{files[2].digest[:12]}-000000000"
    assert [(row["source_key"], row["class_id"]) for row in rows] == [
        ("x", 1), ("y", 2), ("u", 2), ("v", 2), (made, 0),
    ]  # fmt: skip
    assert {row["source_kind"] for row in rows} == {"target"}
    assert (account.seen, account.taken, account.notes) == (5, 5, {})


def test_a_key_of_an_earlier_file_is_told_apart_and_noted(tmp_path: Path) -> None:
    files = tuple(tar(tmp_path, f"{name}.tar", labelled("0", "1", name)) for name in ("a", "b", "c"))
    rows, account = ingested(tmp_path, SourceFiles(files=files))
    apart = [f"{file.digest[:12]}-{key}" for file in files[1:] for key in ("0", "1")]
    assert [row["source_key"] for row in rows] == ["0", "1", "a", apart[0], apart[1], "b", apart[2], apart[3], "c"]
    assert account.notes["repeated_key"].names == ("b.tar/0", "b.tar/1", "c.tar/0", "c.tar/1")


def test_names_in_the_account_begin_with_their_file(tmp_path: Path) -> None:
    files = (
        tar(tmp_path, "set/train/0.tar", labelled("x") | {"y.png": b"junk", "y.cls": b"0", "notes.pdf": b"%PDF"}),
        parquet(tmp_path, "set/more/0.parquet", [{"label": 0}, {"label": 7}]),
    )
    _, account = ingested(tmp_path, SourceFiles(files=files))
    assert {reason: named.names for reason, named in account.refused.items()} == {
        "undecodable_image": ("train/0.tar/y",),
        "unknown_class": (f"more/0.parquet/{files[1].digest[:12]}-000000001",),
    }
    assert account.notes["other_file"].names == ("train/0.tar/notes.pdf",)
    assert (account.seen, account.taken) == (4, 2)


def test_unused_members_beyond_the_first_hundred_are_still_counted(tmp_path: Path) -> None:
    others = {f"{number}.pdf": b"%PDF" for number in range(150)}
    files = tuple(tar(tmp_path, f"{name}.tar", labelled(name) | others) for name in "ab")
    _, account = ingested(tmp_path, SourceFiles(files=files))
    assert account.notes["other_file"].count == 300
    assert len(account.notes["other_file"].names) == 100


def test_a_file_that_changed_is_named(tmp_path: Path) -> None:
    files = [parquet(tmp_path, f"{name}.parquet", [{"label": 0}]) for name in "abc"]
    parquet(tmp_path, "b.parquet", [{"label": 1}])
    with pytest.raises(Invalid, match=r"library:b\.parquet") as changed:
        ingested(tmp_path, SourceFiles(files=tuple(files)))
    assert changed.value.code == "digest_mismatch"


def test_a_file_without_labels_is_named(tmp_path: Path) -> None:
    files = (parquet(tmp_path, "a.parquet", [{"label": 0}]), parquet(tmp_path, "b.parquet", [{"caption": "a bird"}]))
    with pytest.raises(Invalid, match=r"library:b\.parquet needs a column for label"):
        ingested(tmp_path, SourceFiles(files=files))
    source = SourceFiles(files=files)
    reader = LocationReader(Library(tmp_path), None)
    with opened(source, reader) as rows, pytest.raises(Invalid, match=r"b\.parquet has no labels"):
        write_source(rows, Artifacts(MemoryObjects()))


def test_each_file_says_what_its_labels_mean(tmp_path: Path) -> None:
    rows: Rows = [{"label": "auk"}, {"label": "owl"}]
    files = (
        parquet(tmp_path, "a.parquet", rows, labels=("auk", "owl", "wren")),
        parquet(tmp_path, "b.parquet", rows, labels=("owl", "auk", "wren")),
    )
    found, _ = ingested(tmp_path, SourceFiles(files=files))
    assert [row["class_id"] for row in found] == [0, 1, 1, 0]


def test_clusters_hold_over_all_files(tmp_path: Path) -> None:
    rows: Rows = [{"label": 0, "patient": "p1"}, {"label": 1, "patient": "p2"}]
    files = tuple(parquet(tmp_path, f"{name}.parquet", rows) for name in "ab")
    source = SourceFiles(files=files, cluster=ClusterColumn(column="patient"))
    found, _ = ingested(tmp_path, source)
    assert [row["cluster"] for row in found] == ["p1", "p2", "p1", "p2"]
    without = (*files, parquet(tmp_path, "c.parquet", [{"label": 0}]))
    with pytest.raises(Invalid, match=r"library:c\.parquet has no column 'patient'"):
        ingested(tmp_path, source.model_copy(update={"files": without}))


def test_progress_counts_the_images_of_all_files(tmp_path: Path) -> None:
    files = tuple(parquet(tmp_path, f"{n}.parquet", [{"label": 0}] * images) for n, images in enumerate((300, 5, 300)))
    told = list[tuple[int, int | None]]()
    with opened(SourceFiles(files=files), LocationReader(Library(tmp_path), None), classes=3) as rows:
        write_source(rows, Artifacts(MemoryObjects()), lambda done, total: told.append((done, total)))
    assert told == [(256, 605), (512, 605), (605, 605)]


def test_an_ingest_that_broke_off_between_two_files_goes_on_there(tmp_path: Path) -> None:
    files = [parquet(tmp_path, f"{name}.parquet", [{"key": f"{n}", "label": 0} for n in range(300)]) for name in "ab"]
    source, store, step = SourceFiles(files=tuple(files)), MemoryObjects(), "5a" * 32
    whole, account = ingested(tmp_path, source)
    held = (tmp_path / "b.parquet").read_bytes()
    (tmp_path / "b.parquet").write_bytes(held[:-1])
    with pytest.raises(Invalid):
        ingested(tmp_path, source, DoneItems(StepSavepoints(store, step, 0.0, resumes=False), "rows"))
    (tmp_path / "b.parquet").write_bytes(held)
    again = DoneItems(StepSavepoints(store, step, 0.0, resumes=True), "rows")
    found, account_again = ingested(tmp_path, source, again)
    decided = ("id", "shard", "offset", "source_key", "class_id")
    assert [[row[name] for name in decided] for row in found] == [[row[name] for name in decided] for row in whole]
    assert account_again == account
    assert account.notes["repeated_key"].count == 300
    assert len({row["source_key"] for row in whole}) == 600


@pytest.mark.parametrize(
    ("locations", "names"),
    [
        (["library:set/train/0.tar"], ["0.tar"]),
        (["library:set/train/0.tar", "library:set/train/1.tar"], ["0.tar", "1.tar"]),
        (["library:set/a/0.tar", "library:set/b/0.tar"], ["a/0.tar", "b/0.tar"]),
        (["library:0.tar", "library:more/0.tar"], ["0.tar", "more/0.tar"]),
        (["s3://shop/a.tar", "https://example.org/a.tar"], ["s3://shop/a.tar", "https://example.org/a.tar"]),
        (["library:a", "library:a/b"], ["a", "a/b"]),
    ],
)
def test_files_are_called_by_what_differs(locations: list[str], names: list[str]) -> None:
    assert file_names(locations) == names
