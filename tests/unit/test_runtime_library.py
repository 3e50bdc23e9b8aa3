"""The library: nothing outside it, nothing with other bytes than registered."""

from pathlib import Path

import pytest
from touchstone_contracts.identity import sha256
from touchstone_contracts.problems import Invalid
from touchstone_runtime.digests import file_digest, folder_digest
from touchstone_runtime.library import Library


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "library/models/clip").mkdir(parents=True)
    (tmp_path / "library/models/clip/weights").write_bytes(b"weights")
    (tmp_path / "library/models/clip/README.md").write_text("a card")
    (tmp_path / "secret").write_text("outside")
    (tmp_path / "library/link").symlink_to(tmp_path / "secret")
    return tmp_path / "library"


def test_a_file_with_the_registered_bytes_is_found(root: Path) -> None:
    location = "library:models/clip/weights"
    with Library(root).verified_file(location, sha256(b"weights")) as path:
        assert path.read_bytes() == b"weights"


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("library:../secret", "source_not_allowed"),
        ("library:models/../../secret", "source_not_allowed"),
        ("library:/etc/passwd", "source_not_allowed"),
        ("/etc/passwd", "source_not_allowed"),
        ("library:link", "link_leads_out"),
    ],
)
def test_no_location_leads_out_of_the_library(root: Path, location: str, code: str) -> None:
    for look in (Library(root).path, lambda location: Library(root).opened(location).__enter__()):
        with pytest.raises(Invalid) as refused:
            look(location)
        assert refused.value.code == code


def test_a_missing_location_is_named(root: Path) -> None:
    with pytest.raises(Invalid, match="library:nothing") as refused, Library(root).opened("library:nothing"):
        pass
    assert refused.value.code == "place_missing"


def codes(root: Path, file: str, folder: str) -> list[tuple[str, str]]:
    """(code, detail) of a file and a folder that are asked for by a wrong digest."""
    refused = []
    for verify, path in ((opened_file, file), (Library.verified_folder, folder)):
        with pytest.raises(Invalid) as problem:
            verify(Library(root), f"library:{path}", "0" * 64)
        refused.append((problem.value.code, problem.value.detail))
    return refused


def opened_file(library: Library, location: str, digest: str) -> None:
    with library.verified_file(location, digest):
        pass


def test_other_bytes_than_registered_are_refused_and_not_described(root: Path) -> None:
    refused = codes(root, "models/clip/weights", "models/clip")
    assert [code for code, _ in refused] == ["digest_mismatch"] * 2
    true = (sha256(b"weights"), folder_digest(root / "models/clip"))
    for digest, (_, detail) in zip(true, refused, strict=True):
        assert digest not in detail
        assert str(root) not in detail


def test_a_folder_is_no_file_and_a_file_no_folder(root: Path) -> None:
    assert [code for code, _ in codes(root, "models/clip", "models/clip/weights")] == ["place_missing"] * 2


def test_a_folders_digest_follows_names_and_bytes_but_not_its_card(root: Path) -> None:
    folder = root / "models/clip"
    before = folder_digest(folder)
    (folder / "README.md").write_text("another card")
    assert folder_digest(folder) == before == sha256(f"weights {sha256(b'weights')}\n".encode())
    (folder / "weights").rename(folder / "renamed")
    assert folder_digest(folder) != before
    assert file_digest(folder / "renamed") == sha256(b"weights")
