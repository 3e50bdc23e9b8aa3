"""Tables of links as LAION, DataComp, CC12M and others publish them: columns, safety, and an account of every row."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from touchstone_contracts.account import Account
from touchstone_contracts.catalogue import LinkTable
from touchstone_contracts.problems import Invalid
from touchstone_retrieval.ingest.link_table import read_links
from touchstone_retrieval.ingest.safety import refused_as_unsafe, unsafe_score
from touchstone_runtime.digests import file_digest

URLS = [f"http://x/{number}" for number in range(6)]


def read(folder: Path, cells: dict[str, Any], **said: Any) -> tuple[list[dict[str, Any]], Account]:
    path = folder / "links.parquet"
    pq.write_table(pa.table(cells), path)
    table = LinkTable.model_validate({
        "location": "library:links.parquet",
        "digest": file_digest(path),
        "images": len(next(iter(cells.values()))),
        "image_embeddings": {"location": "library:img.npy", "digest": "0" * 64},
        **said,
    })  # fmt: skip
    found, account = read_links(path, table)
    return found.to_pylist(), account


PUBLISHED: dict[str, dict[str, Any]] = {
    "LAION-2B": {"URL": URLS[:1], "TEXT": ["a"], "WIDTH": [640], "HEIGHT": [480], "punsafe": [0.1]},
    "LAION-400M": {"SAMPLE_ID": [1.0], "URL": URLS[:1], "TEXT": ["a"], "WIDTH": [640], "HEIGHT": [480]},
    "DataComp": {"uid": ["f"], "url": URLS[:1], "text": ["a"], "original_width": [640], "original_height": [480]},
    "CC12M": {"url": URLS[:1], "caption": ["a"], "key": ["0"], "width": [640], "height": [480]},
    "COYO": {"id": [1], "url": URLS[:1], "text": ["a"], "width": [640], "height": [480]},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_columns_of_published_tables_are_found(tmp_path: Path, name: str) -> None:
    (row,), account = read(tmp_path, PUBLISHED[name])
    assert (row["source_key"], row["caption"], row["width"], row["height"]) == (URLS[0], "a", 640, 480)
    assert (account.seen, account.taken) == (1, 1)


def test_columns_of_other_names_are_named_by_the_registration(tmp_path: Path) -> None:
    columns = {"link": URLS[:2], "alt": ["a", "b"], "hash": ["A" * 64, None], "rating": [0.1, 0.9], "url": ["p", "q"]}
    said = {"url": "link", "caption": "alt", "sha256": "hash", "unsafe": "rating"}
    rows, account = read(tmp_path, columns, columns=said, most_unsafe=0.5)
    assert [(row["source_key"], row["caption"], row["drop_reason"]) for row in rows] == [
        (URLS[0], "a", ""), (URLS[1], "b", "nsfw"),
    ]  # fmt: skip
    assert rows[0]["id"] == "a" * 64
    assert account.refused["nsfw"].names == (URLS[1],)


@pytest.mark.parametrize("sought", ["url", "caption", "sha256", "unsafe", "width"])
def test_a_named_column_that_is_not_there_is_refused(tmp_path: Path, sought: str) -> None:
    cells = {"url": URLS[:1], "text": ["a"], "nsfw": ["UNSURE"]}
    with pytest.raises(Invalid, match="has no column 'gone', only url, text, nsfw") as refused:
        read(tmp_path, cells, columns={sought: "gone"}, most_unsafe=0.5)
    assert refused.value.code == "missing_columns"


def test_a_limit_without_a_column_that_tells_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"needs a column for unsafe \(punsafe, nsfw\)"):
        read(tmp_path, {"url": URLS[:1], "text": ["a"]}, most_unsafe=0.5)


def test_a_column_that_tells_without_a_limit_cannot_be_registered(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="say most_unsafe"):
        read(tmp_path, {"url": URLS[:1], "text": ["a"]}, columns={"unsafe": "rating"})
    for limit in (-0.1, 1.1):
        with pytest.raises(ValidationError):
            read(tmp_path, {"url": URLS[:1], "text": ["a"]}, most_unsafe=limit)


TAGS = ["UNLIKELY", "UNSURE", "NSFW", None, "nsfw", ""]


@pytest.mark.parametrize(
    ("limit", "reasons"),
    [
        (None, ["", "", "nsfw", "", "", ""]),
        (0.0, ["", "nsfw", "nsfw", "unrated", "nsfw", "unrated"]),
        (0.5, ["", "", "nsfw", "unrated", "nsfw", "unrated"]),
        (1.0, ["", "", "", "unrated", "", "unrated"]),
    ],
)
def test_tags_of_laion_count_as_numbers(tmp_path: Path, limit: float | None, reasons: list[str]) -> None:
    said = {} if limit is None else {"most_unsafe": limit}
    rows, account = read(tmp_path, {"url": URLS, "text": list("abcdef"), "NSFW": TAGS}, **said)
    assert [row["drop_reason"] for row in rows] == reasons
    assert [row["kept"] for row in rows] == [not reason for reason in reasons]
    assert account.counts == {reason: reasons.count(reason) for reason in sorted(set(reasons)) if reason}


def test_scores_above_the_limit_are_left_out_and_no_score_is_not_safe(tmp_path: Path) -> None:
    scores = [0.0, 0.3, 0.31, 1.0, None, float("nan")]
    rows, account = read(tmp_path, {"url": URLS, "text": list("abcdef"), "punsafe": scores}, most_unsafe=0.3)
    assert [row["drop_reason"] for row in rows] == ["", "", "nsfw", "nsfw", "unrated", "unrated"]
    assert account.refused["nsfw"].names == (URLS[2], URLS[3])
    assert (account.seen, account.taken) == (6, 2)


def test_without_a_limit_scores_leave_nothing_out(tmp_path: Path) -> None:
    rows, account = read(tmp_path, {"url": URLS[:2], "text": ["a", "b"], "punsafe": [0.99, None]})
    assert [row["kept"] for row in rows] == [True, True]
    assert account.refused == {}


def test_of_a_score_and_a_tag_the_one_that_tells_of_most_counts(tmp_path: Path) -> None:
    columns = {
        "url": URLS[:3],
        "text": list("abc"),
        "punsafe": [0.1, 0.9, None],
        "NSFW": ["NSFW", "UNLIKELY", "UNLIKELY"],
    }
    rows, _ = read(tmp_path, columns, most_unsafe=0.5)
    assert [row["drop_reason"] for row in rows] == ["nsfw", "nsfw", ""]


@pytest.mark.parametrize(
    ("value", "score"),
    [(0.25, 0.25), ("0.25", 0.25), (b"0.25", 0.25), (True, 1.0), (False, 0.0), (" Unlikely ", 0.0), (1, 1.0),
     ("None", None), ([], None), (-1.0, None), ("inf", float("inf"))],
)  # fmt: skip
def test_what_a_table_says_of_safety_is_a_number_or_nothing(value: object, score: float | None) -> None:
    assert unsafe_score(value) == score


@given(values=st.lists(st.one_of(st.none(), st.floats(), st.text(), st.booleans(), st.binary()), max_size=2))
@settings(max_examples=60, deadline=None)
def test_whatever_a_table_says_a_lower_limit_lets_no_more_rows_pass(values: list[object]) -> None:
    passes = [not refused_as_unsafe(values, limit) for limit in (0.0, 0.2, 0.7, 1.0)]
    assert passes == sorted(passes)


def test_rows_without_an_address_are_refused_and_keep_their_row_numbers(tmp_path: Path) -> None:
    urls = [URLS[0], None, "", "http://x/" + "y" * 5000, URLS[4]]
    rows, account = read(tmp_path, {"url": urls, "text": list("abcde")})
    assert [row["drop_reason"] for row in rows] == ["", "missing_url", "missing_url", "bad_url", ""]
    assert account.refused["missing_url"].names == ("row 1", "row 2")
    assert (account.seen, account.taken) == (5, 2)


def test_captions_in_lists_and_blank_ones_are_read_as_those_of_images(tmp_path: Path) -> None:
    columns = {"url": URLS[:3], "caption": [["", "a"], [], None], "text": ["x", "y", None]}
    rows, account = read(tmp_path, columns)
    assert [row["caption"] for row in rows] == ["a", "y", ""]
    assert account.notes == {}
