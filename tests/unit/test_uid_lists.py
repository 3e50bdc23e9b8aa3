"""Lists of uids restrict a table to the rows that they name, and rows keep their row numbers."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from touchstone_contracts.catalogue import LinkColumns, LinkTable
from touchstone_contracts.identity import sha256
from touchstone_contracts.problems import Invalid
from touchstone_retrieval.ingest.link_files import open_links
from touchstone_retrieval.ingest.link_rows import LinkRows
from touchstone_retrieval.ingest.link_table import NOT_LISTED, belonging, read_links
from touchstone_retrieval.ingest.uid_lists import NamedInTables, listed_among
from touchstone_runtime.image_sets import BLANK_ID

UIDS = [f"{number:016x}{7 * number:016x}" for number in range(6)]
"""The first one is zero, others end with zeros in either half."""
UIDS[5] = "f" * 15 + "0" + "f" * 14 + "00"


def save(path: Path, uids: list[str]) -> Path:
    """As DataComp's filters do."""
    pairs = [(int(uid[:16], 16), int(uid[16:32], 16)) for uid in uids]
    np.save(path, np.array(pairs, np.dtype("u8,u8")))
    return path


def links(folder: Path, uids: list[str | None]) -> LinkRows:
    urls = [f"http://x/{number}" for number in range(len(uids))]
    cells = {"uid": pa.array(uids, pa.string()), "url": urls, "text": ["a"] * len(uids)}
    pq.write_table(pa.table(cells), folder / "links.parquet")
    return open_links(folder / "links.parquet", "library:links.parquet", LinkColumns())


def test_rows_are_named_by_an_array_of_uids(tmp_path: Path) -> None:
    table = links(tmp_path, [*UIDS, None, "no uid", UIDS[2].upper()])
    for wanted in ([0], [1, 2, 5], [], [5, 4, 3, 2, 1, 0]):
        listed = listed_among(table, save(tmp_path / "uids.npy", [UIDS[each] for each in wanted]), "library:uids.npy")
        same = [True] if 2 in wanted else [False]
        assert listed.tolist() == [*(each in wanted for each in range(6)), False, False, *same]


@pytest.mark.parametrize(
    "text",
    [f"{UIDS[1]}\n{UIDS[4]}\n", f"\ufeff{UIDS[1]}\r\n\r\n  {UIDS[4].upper()}", f'uid\n"{UIDS[4]}"\n"{UIDS[1]}"\n'],
)
def test_rows_are_named_by_lines_of_text(tmp_path: Path, text: str) -> None:
    (tmp_path / "uids.txt").write_text(text)
    listed = listed_among(links(tmp_path, list(UIDS)), tmp_path / "uids.txt", "library:uids.txt")
    assert np.flatnonzero(listed).tolist() == [1, 4]


@pytest.mark.parametrize(
    "array", [np.arange(4), np.zeros((2, 2), "u8,u8"), np.zeros(2, "u8,u4"), np.array([{}], object)]
)
def test_an_array_of_something_else_is_no_list(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "uids.npy", array, allow_pickle=True)
    with pytest.raises(Invalid, match=r"library:uids\.npy (holds|is not a \.npy array)"):
        listed_among(links(tmp_path, list(UIDS)), tmp_path / "uids.npy", "library:uids.npy")


@pytest.mark.parametrize("text", ["cat\n", f"{UIDS[1]}\n{UIDS[2][:-1]}\n", "x" * 5000, f"{UIDS[1]},{UIDS[2]}\n"])
def test_a_line_that_is_no_uid_is_refused_with_its_number(tmp_path: Path, text: str) -> None:
    (tmp_path / "uids.txt").write_text(text)
    number = 2 if text.count("\n") == 2 else 1
    with pytest.raises(Invalid, match=f"line {number} of library:uids.txt"):
        listed_among(links(tmp_path, list(UIDS)), tmp_path / "uids.txt", "library:uids.txt")


def test_rows_that_are_not_listed_keep_their_row_numbers_and_are_no_losses(tmp_path: Path) -> None:
    links(tmp_path, list(UIDS))
    table = LinkTable.model_validate({
        "location": "library:links.parquet", "digest": "0" * 64, "images": 6,
        "uids": {"location": "library:uids.npy", "digest": "0" * 64},
    })  # fmt: skip
    listed = np.array([True, False, False, True, False, False])
    manifest, account = read_links(tmp_path / "links.parquet", table, listed=listed)
    rows = manifest.to_pylist()
    assert [row["source_key"] for row in rows] == ["http://x/0", "", "", "http://x/3", "", ""]
    assert [row["drop_reason"] for row in rows] == ["", NOT_LISTED, NOT_LISTED, "", NOT_LISTED, NOT_LISTED]
    assert rows[1]["id"] == BLANK_ID
    assert rows[1]["caption"] == ""
    assert belonging(manifest).tolist() == listed.tolist()
    assert (account.seen, account.taken, account.losses) == (2, 2, 0)
    assert account.notes[NOT_LISTED].count == 4


def test_a_list_needs_a_column_of_uids(tmp_path: Path) -> None:
    pq.write_table(pa.table({"url": ["http://x/0"], "text": ["a"]}), tmp_path / "links.parquet")
    uids = {"location": "library:uids.npy", "digest": "0" * 64}
    said = {"location": "library:links.parquet", "digest": "0" * 64, "images": 1, "uids": uids}
    with pytest.raises(Invalid, match=r"needs a column for uid \(uid\)"):
        read_links(tmp_path / "links.parquet", LinkTable.model_validate(said), listed=np.array([True]))


def test_uids_that_are_in_no_table_are_counted(tmp_path: Path) -> None:
    others = [sha256(str(number).encode())[:32] for number in range(3)]
    named = NamedInTables(save(tmp_path / "uids.npy", [*UIDS[:4], *others, UIDS[0]]), "library:uids.npy")
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    named.add(links(tmp_path / "first", [UIDS[0], UIDS[5], None]))
    named.add(links(tmp_path / "second", [UIDS[1]]))
    assert (named.count, named.absent) == (7, 5)


UID = st.binary(min_size=16, max_size=16).map(bytes.hex) | st.sampled_from(UIDS)


@given(own=st.lists(UID, max_size=20), listed=st.lists(UID, max_size=20))
@settings(max_examples=30, deadline=None)
def test_a_row_is_listed_just_where_its_uid_is_in_the_list(
    tmp_path_factory: pytest.TempPathFactory, own: list[str], listed: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("uids")
    found = listed_among(links(folder, list(own)), save(folder / "uids.npy", listed), "library:uids.npy")
    assert found.tolist() == [uid in listed for uid in own]
