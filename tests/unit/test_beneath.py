"""Nothing below a folder leads out of it: no link, no chain of links, no path, and no swap while it is read."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path, PurePosixPath

import pytest
from touchstone_contracts.problems import Invalid
from touchstone_runtime.beneath import LeadsOut, opened_beneath, read_beneath
from touchstone_runtime.digests import folder_digest, listing_digest

SECRET = b"password of the stack"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    (tmp_path / "outside/below").mkdir(parents=True)
    (tmp_path / "outside/secret").write_bytes(SECRET)
    (tmp_path / "outside/below/secret").write_bytes(SECRET)
    return tmp_path / "outside"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root/a/b").mkdir(parents=True)
    (tmp_path / "root/a/b/file").write_bytes(b"inside")
    return tmp_path / "root"


LEADING_OUT: dict[str, tuple[str, dict[str, str]]] = {
    "a link to a file": ("x", {"x": "{out}/secret"}),
    "a relative link to a file": ("x", {"x": "../outside/secret"}),
    "a link to a folder": ("x/secret", {"x": "{out}"}),
    "a link further down": ("a/b/x", {"a/b/x": "../../../outside/secret"}),
    "a chain of links": ("x", {"x": "y", "y": "a/z", "a/z": "../../outside/secret"}),
    "a link to a folder, and up from there": ("x/../secret", {"x": "../outside/below"}),
    "links that go in a circle": ("x", {"x": "y", "y": "x"}),
    "dots": ("../outside/secret", {}),
    "dots further down": ("a/../../outside/secret", {}),
    "the machine's root": ("x/etc/hostname", {"x": "/"}),
    "what this process was started with": ("x", {"x": "/proc/self/environ"}),
}
"""Path, and the links that lie below the root."""


@pytest.mark.parametrize("kind", LEADING_OUT)
def test_what_leads_out_is_refused(root: Path, outside: Path, kind: str) -> None:
    path, links = LEADING_OUT[kind]
    for link, target in links.items():
        (root / link).symlink_to(target.format(out=outside))
    with pytest.raises(LeadsOut) as refused:
        read_beneath(root, PurePosixPath(path))
    assert str(outside) not in refused.value.detail


def test_links_that_stay_inside_are_followed(root: Path) -> None:
    (root / "a/link").symlink_to("b")
    (root / "up").symlink_to("a/link/../b/file")
    assert [read_beneath(root, PurePosixPath(path)) for path in ("a/b/file", "a/link/file", "up")] == [b"inside"] * 3
    with opened_beneath(root, PurePosixPath("a/link"), folder=True) as folder:
        assert [path.name for path in folder.iterdir()] == ["file"]


def test_the_root_itself_may_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "library").symlink_to(root)
    assert read_beneath(tmp_path / "library", PurePosixPath("a/b/file")) == b"inside"


@pytest.mark.parametrize("path", ["none", "a/b/file/below", "a", "pipe"])
def test_what_is_no_file_is_missing_and_is_not_waited_for(root: Path, path: str) -> None:
    os.mkfifo(root / "pipe")
    with pytest.raises(Invalid) as missing:
        read_beneath(root, PurePosixPath(path))
    assert missing.value.code == "place_missing"


def test_an_open_file_stays_the_same_when_its_name_or_its_folder_is_swapped(root: Path, outside: Path) -> None:
    with opened_beneath(root, PurePosixPath("a/b/file")) as path:
        (root / "a/b").rename(root / "a/c")
        (root / "a/b").symlink_to(outside / "below")
        (root / "a/c/file").unlink()
        (root / "a/c/file").symlink_to(outside / "secret")
        assert path.read_bytes() == b"inside"


def test_an_open_folder_stays_the_same_when_it_is_swapped(root: Path, outside: Path) -> None:
    with opened_beneath(root, PurePosixPath("a"), folder=True) as folder:
        (root / "a").rename(root / "moved")
        (root / "a").symlink_to(outside)
        assert read_beneath(folder, PurePosixPath("b/file")) == b"inside"
        (root / "moved/b/file").unlink()
        (root / "moved/b/file").symlink_to(outside / "secret")
        with pytest.raises(LeadsOut):
            read_beneath(folder, PurePosixPath("b/file"))


SWAP = """
import os, sys
folder, outside = sys.argv[1:]
while True:
    os.rename(f"{folder}/b", f"{folder}/kept")
    os.symlink(outside, f"{folder}/b")
    os.unlink(f"{folder}/b")
    os.rename(f"{folder}/kept", f"{folder}/b")
"""


def test_no_swap_between_the_parts_of_a_path_leads_out(root: Path, outside: Path) -> None:
    """Another process changes a folder for a link and back while thousands of reads go through it."""
    (outside / "below/file").write_bytes(SECRET)
    outcomes: Counter[bytes | str] = Counter()
    with subprocess.Popen([sys.executable, "-c", SWAP, str(root / "a"), str(outside / "below")]) as swapper:
        while outcomes.total() < 3000 or (len(outcomes) < 3 and outcomes.total() < 300_000):
            try:
                outcomes[read_beneath(root, PurePosixPath("a/b/file"))] += 1
            except Invalid as refused:
                outcomes[refused.code] += 1
        swapper.kill()
    assert set(outcomes) == {b"inside", "link_leads_out", "place_missing"}


def test_digests_of_folders_are_not_computed_through_links_that_lead_out(root: Path, outside: Path) -> None:
    before = folder_digest(root)
    (root / "same").symlink_to("a/b/file")
    assert folder_digest(root) != before
    (root / "caption.txt").symlink_to(outside / "secret")
    with pytest.raises(LeadsOut, match=r"caption\.txt"):
        folder_digest(root)
    # As in the local cache of a hub, where the files of a commit are links to blobs beside it.
    (root / "blob.txt").symlink_to("../outside/secret")
    assert len(listing_digest(root, [root / "blob.txt"], within=root.parent)) == 64
