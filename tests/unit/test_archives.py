"""Uploaded archives are unpacked into one folder or refused with the member that is to blame."""

import tarfile
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from support.archives import lying_zip, tar_of, tar_with_link, zip_bomb, zip_of, zip_with_link
from touchstone_contracts.problems import Invalid
from touchstone_retrieval.locations.archives import Archive, UnusableArchive, open_archive
from touchstone_retrieval.locations.uploaded import UploadedFiles
from touchstone_runtime.objects import MemoryObjects
from touchstone_runtime.uploads import PART_BYTES, Uploads

FILES = {"my birds/owl 1.png": b"owl", "my birds/more/crow.png": b"crow", "my birds/été.txt": b"summer", "top.png": b""}


def archive(folder: Path, data: bytes) -> Archive:
    path = folder / "archive"
    path.write_bytes(data)
    return open_archive(path, "upload://x")


def unpacked(folder: Path, found: Archive, most_bytes: int = 1000) -> dict[str, bytes]:
    found.unpack(found.files, lambda file: folder / "out" / file.name, most_bytes)
    files = (path for path in (folder / "out").rglob("*") if path.is_file())
    return {path.relative_to(folder / "out").as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("pack", [zip_of, tar_of, lambda files: zip_of(files, compression=zipfile.ZIP_DEFLATED)])
def test_every_file_of_an_archive_comes_out_as_it_went_in(tmp_path: Path, pack: object) -> None:
    assert callable(pack)
    assert unpacked(tmp_path, archive(tmp_path, pack(FILES))) == FILES


@pytest.mark.parametrize("pack", [zip_of, tar_of])
@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../out.png", "a/../../b.png", "..", "C:/x.png", "\\x.png", "a\\..\\..\\x.png"]
)
def test_a_name_that_leads_out_refuses_the_archive(tmp_path: Path, pack: object, name: str) -> None:
    assert callable(pack)
    with pytest.raises(UnusableArchive, match="leads out of its folder"):
        archive(tmp_path, pack({"a.png": b"a", name: b"b"}))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (tar_with_link("b.png", "/etc/passwd", tarfile.SYMTYPE), "symbolic link"),
        (tar_with_link("b.png", "a.png", tarfile.SYMTYPE), "symbolic link"),
        (tar_with_link("b.png", "gone.png", tarfile.LNKTYPE), "broken link"),
        (tar_with_link("b.png", "", tarfile.FIFOTYPE), "special file"),
        (tar_with_link("b.png", "", tarfile.CHRTYPE), "special file"),
        (zip_with_link("b.png", "/etc/passwd"), "symbolic link"),
    ],
)
def test_links_and_devices_refuse_the_archive(tmp_path: Path, data: bytes, reason: str) -> None:
    with pytest.raises(UnusableArchive, match=f"'b.png', which is no file that can be read .{reason}"):
        archive(tmp_path, data)


def test_no_process_that_read_an_archive_is_left(tmp_path: Path) -> None:
    before = len(psutil.Process().children())
    for number in range(3):
        (folder := tmp_path / str(number)).mkdir()
        assert unpacked(folder, archive(folder, zip_of(FILES))) == FILES
    assert len(psutil.Process().children()) == before


def test_a_hard_link_has_the_bytes_of_the_file_it_names(tmp_path: Path) -> None:
    found = archive(tmp_path, tar_with_link("b.png", "a.png", tarfile.LNKTYPE))
    assert unpacked(tmp_path, found) == {"a.png": b"", "b.png": b""}


def test_a_bomb_is_refused_before_or_while_it_is_unpacked(tmp_path: Path) -> None:
    bomb = archive(tmp_path, zip_bomb(5, 2**20))
    assert len(bomb.files) == 5
    with pytest.raises(UnusableArchive, match="unpacks to more than 1,000 bytes") as refused:
        unpacked(tmp_path, bomb)
    assert refused.value.code == "too_many_bytes"
    assert not (tmp_path / "out").exists()
    with pytest.raises(UnusableArchive, match="cannot be read as a zip archive"):
        unpacked(tmp_path, archive(tmp_path, lying_zip(2**20)))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"a.png": b"1", "./a.png": b"2"}, "'a.png' twice"),
        ({"a": b"1", "a/b.png": b"2"}, "'a' as a file and as a folder"),
        ({}, "holds no file"),
        ({".DS_Store": b"1", "__MACOSX/._a.png": b"2", ".git/config": b"3"}, "holds no file"),
    ],
)
def test_what_makes_no_folder_is_refused(tmp_path: Path, files: dict[str, bytes], words: str) -> None:
    for data in (zip_of(files), tar_of(files)):
        with pytest.raises(UnusableArchive, match=words):
            archive(tmp_path, data)


@pytest.mark.parametrize(
    "data", [b"", b"no archive", zip_of(FILES)[:-30], b"PK\x05\x06" + bytes(10), b"\x1f\x8b" + bytes(600)]
)
def test_what_is_no_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(Invalid):
        archive(tmp_path, data)


def test_a_damaged_member_refuses_what_needs_it(tmp_path: Path) -> None:
    data = zip_of({"a.png": b"first picture", "b.png": b"second picture"})
    found = archive(tmp_path, data.replace(b"first", b"fIrst"))
    with pytest.raises(UnusableArchive, match="Bad CRC-32"):
        unpacked(tmp_path, found)


def test_an_encrypted_member_is_told(tmp_path: Path) -> None:
    data = bytearray(zip_of({"a.png": b"secret"}))
    for where in (data.find(b"PK\x01\x02") + 8, data.find(b"PK\x03\x04") + 6):
        data[where] |= 1
    with pytest.raises(UnusableArchive, match="encrypted"):
        archive(tmp_path, bytes(data))


def uploaded(data: bytes) -> tuple[UploadedFiles, str, MemoryObjects]:
    objects = MemoryObjects()
    uploads = Uploads(objects)
    writer = uploads.begin("default")
    if writer.add(data):
        writer.write_parts()
    return UploadedFiles(uploads, 10**9), writer.finish(datetime.now(UTC)).location, objects


def test_files_of_an_upload_are_listed_and_fetched_by_their_location(tmp_path: Path) -> None:
    files, location, _ = uploaded(zip_of(FILES))
    assert files.below(location) == sorted(f"{location}/{name}" for name in FILES)
    assert files.below(f"{location}/my birds/more") == [f"{location}/my birds/more/crow.png"]
    files.fetch(f"{location}/my birds/owl 1.png", tmp_path / "owl")
    assert (tmp_path / "owl").read_bytes() == b"owl"
    files.fetch_folder(f"{location}/my birds", tmp_path / "out", lambda path: path.suffix == ".png")
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.*")) == ["crow.png", "owl 1.png"]
    with pytest.raises(Invalid, match="is not in the archive"):
        files.fetch(f"{location}/gone.png", tmp_path / "gone")


def test_a_tar_with_classes_or_json_beside_its_images_is_a_shard(tmp_path: Path) -> None:
    shard = tar_of({"0.png": b"a", "0.cls": b"1"})
    files, location, _ = uploaded(shard)
    assert files.below(location) == [f"{location}/shard.tar"]
    files.fetch(f"{location}/shard.tar", tmp_path / "shard")
    assert (tmp_path / "shard").read_bytes() == shard
    folder, location, _ = uploaded(tar_of({"0.png": b"a", "0.txt": b"a caption"}))
    assert len(folder.below(location)) == 2


def test_a_large_upload_lies_in_parts_and_a_lost_one_is_told(tmp_path: Path) -> None:
    data = bytes(range(256)) * (PART_BYTES // 256 + 1)
    files, location, objects = uploaded(tar_of({"a.png": data}))
    assert len(list(objects.listed("uploads/default/"))) == 3
    files.fetch(f"{location}/a.png", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == data
    with pytest.raises(Invalid, match="there is no upload"):
        UploadedFiles(Uploads(MemoryObjects()), 10).below(location)
