"""A folder of this machine is sent as an archive that is made on the way."""

import io
import zipfile
from pathlib import Path

import pytest
from touchstone.adding import is_location, name_of
from touchstone.documents import UnreadableDocument
from touchstone.packing import CHUNK, NothingToPack, packed


def names_and_data(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as found:
        assert found.testzip() is None
        return {name: found.read(name) for name in found.namelist()}


def test_a_folder_with_spaces_in_its_path_is_packed_by_paths_below_it(tmp_path: Path) -> None:
    folder = tmp_path / "my birds"
    files = {"owl 1.png": b"owl", "more/été.txt": b"summer", "large.bin": bytes(3 * CHUNK + 1)}
    for name, data in (files | {".DS_Store": b"x", ".git/config": b"x", "__MACOSX/a.png": b"x"}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    told: list[tuple[int, int]] = []
    found = packed(folder, lambda sent, total: told.append((sent, total)))
    assert names_and_data(b"".join(found)) == files
    assert told[-1] == (found.size, found.size) == (3 * CHUNK + 10,) * 2
    assert b"".join(found) == b"".join(found)


def test_it_comes_in_pieces_while_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "large.bin").write_bytes(bytes(5 * CHUNK))
    sizes = [len(piece) for piece in packed(tmp_path)]
    assert len(sizes) > 5
    assert max(sizes) < 2 * CHUNK


def test_one_file_is_an_archive_of_it_and_links_to_files_are_followed(tmp_path: Path) -> None:
    (tmp_path / "0.tar").write_bytes(b"shard")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "linked.tar").symlink_to(tmp_path / "0.tar")
    assert names_and_data(b"".join(packed(tmp_path / "0.tar"))) == {"0.tar": b"shard"}
    assert names_and_data(b"".join(packed(tmp_path / "folder"))) == {"linked.tar": b"shard"}


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("my data/train-*.parquet", ["train-0.parquet", "train-1.parquet"]),
        ("my data/**/*-1.parquet", ["more/train-1.parquet", "train-1.parquet"]),
        ("*/test-*", ["my data/test-0.parquet"]),
        ("my data/odd[1]-*.parquet", ["odd[1]-a.parquet"]),
    ],
)
def test_files_by_a_pattern_are_one_archive(tmp_path: Path, pattern: str, names: list[str]) -> None:
    for name in ("train-0", "train-1", "test-0", "more/train-1", "odd[1]-a", "odd1-a", ".train-2"):
        (tmp_path / "my data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "my data" / f"{name}.parquet").write_bytes(name.encode())
    assert sorted(names_and_data(b"".join(packed(tmp_path / pattern)))) == names
    with pytest.raises(NothingToPack, match="no file matches"):
        packed(tmp_path / "my data" / "val-*.parquet")


def test_a_path_where_nothing_is_is_named_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NothingToPack, match=f"there is no file or folder at {tmp_path}/my birds"):
        packed(Path("my birds"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".hidden").write_bytes(b"x")
    with pytest.raises(NothingToPack, match=f"no file is below {tmp_path}/empty, only 1 hidden ones"):
        packed(Path("empty"))


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("./My Birds (2024)", "my-birds-2024"),
        ("/data/birds/", "birds"),
        ("shards/birds.tar", "birds"),
        ("hf://datasets/owner/Birds_525@main/data/*.parquet", "data"),
        ("hf://datasets/owner/birds-525@refs", "birds-525"),
        ("s3://shop/photos/*", "photos"),
        ("s3://shop", "shop"),
        ("https://example.org/sets/train.tar", "train"),
        ("library:holiday photos", "holiday-photos"),
    ],
)
def test_a_name_is_made_of_the_last_part_of_a_source(source: str, name: str) -> None:
    assert name_of(source) == name


def test_a_source_without_a_name_asks_for_one() -> None:
    with pytest.raises(UnreadableDocument, match="--name"):
        name_of("/日本/!!!")


@pytest.mark.parametrize(
    ("source", "remote"),
    [("hf://datasets/a/b", True), ("library:x", True), ("./library", False), ("a:b", False), ("C:/birds", False)],
)
def test_locations_are_told_from_paths(source: str, remote: bool) -> None:
    assert is_location(source) is remote
