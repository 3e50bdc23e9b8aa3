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
    place = "library:models/clip/weights"
    assert Library(root).verified_file(place, sha256(b"weights")) == root / "models/clip/weights"


@pytest.mark.parametrize("place", ["library:../secret", "library:models/../../secret", "library:link", "/etc/passwd"])
def test_no_place_leads_out_of_the_library(root: Path, place: str) -> None:
    with pytest.raises(Invalid) as refused:
        Library(root).path(place)
    assert refused.value.code == "place_outside_library"


def test_a_missing_place_is_named(root: Path) -> None:
    with pytest.raises(Invalid, match="library:nothing") as refused:
        Library(root).path("library:nothing")
    assert refused.value.code == "place_missing"


def test_other_bytes_than_registered_are_refused(root: Path) -> None:
    library = Library(root)
    for verify, place in ((library.verified_file, "models/clip/weights"), (library.verified_folder, "models/clip")):
        with pytest.raises(Invalid) as refused:
            verify(f"library:{place}", "0" * 64)
        assert refused.value.code == "digest_mismatch"


def test_a_folder_is_no_file_and_a_file_no_folder(root: Path) -> None:
    library = Library(root)
    for verify, place in ((library.verified_file, "models/clip"), (library.verified_folder, "models/clip/weights")):
        with pytest.raises(Invalid) as refused:
            verify(f"library:{place}", "0" * 64)
        assert refused.value.code == "place_missing"


def test_a_folders_digest_follows_names_and_bytes_but_not_its_card(root: Path) -> None:
    folder = root / "models/clip"
    before = folder_digest(folder)
    (folder / "README.md").write_text("another card")
    assert folder_digest(folder) == before == sha256(f"weights {sha256(b'weights')}\n".encode())
    (folder / "weights").rename(folder / "renamed")
    assert folder_digest(folder) != before
    assert file_digest(folder / "renamed") == sha256(b"weights")
