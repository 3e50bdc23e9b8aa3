"""Tables of links as text: CC3M, CC12M and others, read as they are published and not always as CSV should be."""

import csv
import gzip
import io
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from touchstone_contracts.account import Account
from touchstone_contracts.catalogue import LinkTable
from touchstone_contracts.problems import Invalid
from touchstone_retrieval.ingest.delimited import MOST_LINE
from touchstone_retrieval.ingest.link_files import open_links
from touchstone_retrieval.ingest.link_table import read_links
from touchstone_runtime.digests import file_digest


def read(folder: Path, data: str | bytes, name: str = "links.csv", **said: Any) -> tuple[list[dict[str, Any]], Account]:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    location = f"library:{name}"
    table = LinkTable.model_validate({"location": location, "digest": file_digest(path), "images": 1, **said})
    count = open_links(path, location, table.columns).count
    found, account = read_links(path, table.model_copy(update={"images": count}))
    return found.to_pylist(), account


def pairs(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(row["source_key"], row["caption"]) for row in rows]


A, B, C = "http://x/a.jpg", "https://x/b.jpg?size=1,2", "http://x/c.jpg"
CC3M = f'a very "typical" bus station\t{A}\nsierra looked stunning, in this top\t{B}\n"young, confused\t{C}\n'
CC12M = f"{A}\ta cat; and a dog\n{B}\tthe <PERSON>'s house, today\n{C}\tmorning\n"


def test_cc3m_is_read_without_a_header_and_quotes_are_text(tmp_path: Path) -> None:
    rows, account = read(tmp_path, CC3M, "Train_GCC-training.tsv")
    assert pairs(rows) == [
        (A, 'a very "typical" bus station'), (B, "sierra looked stunning, in this top"), (C, '"young, confused'),
    ]  # fmt: skip
    assert (account.seen, account.taken, account.notes) == (3, 3, {})


def test_cc12m_has_the_address_first(tmp_path: Path) -> None:
    rows, account = read(tmp_path, CC12M, "cc12m.tsv")
    assert pairs(rows) == [(A, "a cat; and a dog"), (B, "the <PERSON>'s house, today"), (C, "morning")]
    assert (account.seen, account.taken) == (3, 3)


WRITTEN = {
    "commas": f"url,caption\n{A},a cat\n",
    "another order and case, other columns": f"id,TEXT,WIDTH,URL\n1,a cat,640,{A}\n",
    "semicolons": f"url;caption\n{A};a cat\n",
    "bars": f"url|caption\n{A}|a cat\n",
    "tabs in a .csv": f"url\tcaption\n{A}\ta cat\n",
    "blanks behind commas": f'url, caption\n{A}, "a cat"\n',
    "an index without a name": f",url,caption\n0,{A},a cat\n",
    "a byte order mark": f"\ufeffurl,caption\n{A},a cat\n",
    "a byte order mark without a header": f"\ufeff{A},a cat\n",
    "line ends of Windows": f"url,caption\r\n{A},a cat\r\n",
    "line ends of old Macs": f"url,caption\r{A},a cat\r",
    "no line end at last, empty lines between": f"\n\nurl,caption\n\n\n{A},a cat",
    "quoted line ends": f'url,caption\n{A},"a\n\ncat"\n',
    "quotes within quotes": f'caption,url\n"a cat",{A}\n',
    "a NUL": f"url,caption\n{A},a\0cat\n",
    "no header, commas": f"{A},a cat\n",
    "no header, caption first": f"a cat,{A}\n",
    "no header, numbers beside": f"17,{A},640,a cat\n",
}


@pytest.mark.parametrize("form", WRITTEN)
def test_a_table_is_read_however_it_is_written(tmp_path: Path, form: str) -> None:
    rows, account = read(tmp_path, WRITTEN[form])
    assert pairs(rows) == [(A, "a cat")]
    assert (account.seen, account.taken, account.refused) == (1, 1, {})


ODD = {
    "a delimiter that nobody quoted": (f"{A},a cat, asleep\n{C},a dog\n", [(A, "a cat, asleep"), (C, "a dog")]),
    "the same before the address": (f"a cat, asleep,{A}\na dog,{C}\n", [(A, "a cat, asleep"), (C, "a dog")]),
    "an unclosed quote": (f'url,caption\n{A},"a cat\n{C},a dog\n', [(A, '"a cat'), (C, "a dog")]),
    "an unclosed quote before the address": (f'"a cat,{A}\na dog,{C}\n', [(A, '"a cat'), (C, "a dog")]),
    "an unclosed quote that a later one closes": (
        f'url,caption\n{A},"a cat\n{B},a fox\n{C},a "dog"\n', [(A, '"a cat'), (B, "a fox"), (C, 'a "dog"')],
    ),
    "no caption": (f"url,caption\n{A}\n{C},a dog\n", [(A, ""), (C, "a dog")]),
}  # fmt: skip


@pytest.mark.parametrize("form", ODD)
def test_a_row_that_is_not_well_formed_is_read_and_noted(tmp_path: Path, form: str) -> None:
    data, expected = ODD[form]
    # Addresses with a comma would be another fault.
    rows, account = read(tmp_path, data.replace(B, "http://x/b.jpg"))
    assert pairs(rows) == [(url.replace(B, "http://x/b.jpg"), caption) for url, caption in expected]
    assert (account.seen, account.taken) == (len(expected), len(expected))
    assert set(account.notes) == {"malformed_row"}


LOST = {
    "no address": (f"url,caption\n,a cat\n{C},a dog\n", {"missing_url": ("row 0",)}),
    "too few fields": (f"id,url,caption\n1\n2,{C},a dog\n", {"unreadable_row": ("row 0",)}),
    "a broken object": (f'{{"url": "{A}"\n{{"url": "{C}", "text": "a dog"}}\n', {"unreadable_row": ("row 0",)}),
    "a list": (f'["{A}"]\n{{"url": "{C}", "text": "a dog"}}\n', {"unreadable_row": ("row 0",)}),
    "deep brackets": (f'{"[" * 10_000}\n{{"url": "{C}", "text": "a dog"}}\n', {"unreadable_row": ("row 0",)}),
}


@pytest.mark.parametrize("form", LOST)
def test_a_row_that_cannot_be_read_is_lost_alone(tmp_path: Path, form: str) -> None:
    data, refused = LOST[form]
    rows, account = read(tmp_path, data, "links.jsonl" if "{" in data else "links.csv")
    assert {reason: named.names for reason, named in account.refused.items()} == refused
    assert pairs(rows) == [("", ""), (C, "a dog")]
    assert (account.seen, account.taken) == (2, 1)


def test_lines_without_end_cost_their_end(tmp_path: Path) -> None:
    rows, account = read(tmp_path, f"{A},{'a' * 3 * MOST_LINE}\n{C},a dog\n")
    assert [len(row["caption"]) for row in rows] == [2000, 5]
    rows, account = read(tmp_path, f"a dog,{C}\n{'a' * 3 * MOST_LINE},{A}\n")
    assert pairs(rows) == [(C, "a dog"), ("", "")]
    assert account.counts == {"unreadable_row": 1}


def test_bytes_of_another_encoding_cost_themselves(tmp_path: Path) -> None:
    data = f"url,caption\n{A},".encode() + "café au lait".encode("latin-1") + f"\n{C},thé\n".encode()
    rows, account = read(tmp_path, data)
    assert pairs(rows) == [(A, "caf\ufffd au lait"), (C, "thé")]
    assert account.taken == 2


def test_json_lines_are_read_with_numbers_lists_and_missing_fields(tmp_path: Path) -> None:
    lines = [
        f'{{"url": "{A}", "text": ["", "a cat"], "width": 640, "punsafe": 0.9}}', "",
        f'{{"url": "{C}", "caption": "a dog", "punsafe": 0.1}}',
    ]  # fmt: skip
    rows, account = read(tmp_path, "\n".join(lines), "links.ndjson", most_unsafe=0.5)
    assert pairs(rows) == [(A, "a cat"), (C, "a dog")]
    assert [row["width"] for row in rows] == [640, 0]
    assert account.counts == {"nsfw": 1}


def test_sizes_ratings_and_digests_are_read_from_text(tmp_path: Path) -> None:
    data = f"url,text,width,height,sha256,nsfw\n{A},a cat,640,480,{'AB' * 32},0.9\n{C},a dog,-1,x,,0.1\n"
    rows, account = read(tmp_path, data, most_unsafe=0.5)
    assert (rows[0]["width"], rows[0]["height"], rows[0]["id"]) == (640, 480, "ab" * 32)
    assert (rows[1]["width"], rows[1]["height"]) == (0, 0)
    assert account.counts == {"nsfw": 1}


@pytest.mark.parametrize("name", ["links.csv.gz", "links.TSV.GZ", "links.jsonl.gz"])
def test_packed_tables_are_read(tmp_path: Path, name: str) -> None:
    data = f'{{"url": "{A}", "text": "a cat"}}\n' if "json" in name else f"{A}\ta cat\n"
    rows, _ = read(tmp_path, gzip.compress(data.encode()), name)
    assert pairs(rows) == [(A, "a cat")]


@pytest.mark.parametrize(
    "data", [b"no archive", gzip.compress(CC12M.encode() * 99, mtime=0)[:-20], gzip.compress(b"x", mtime=0)[:15]]
)
def test_a_damaged_packed_table_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(Invalid, match="cannot be unpacked") as refused:
        read(tmp_path, data, "links.csv.gz")
    assert refused.value.code == "unreadable_source"


def test_columns_are_named_by_position_where_there_is_no_header(tmp_path: Path) -> None:
    data = f"a long title\t{A}\ta cat\nanother title\t{C}\ta dog\n"
    with pytest.raises(Invalid, match="has only 1, 2, 3: name yours in `columns`") as refused:
        read(tmp_path, data, "links.tsv")
    assert refused.value.code == "missing_columns"
    rows, _ = read(tmp_path, data, "links.tsv", columns={"caption": "3"})
    assert pairs(rows) == [(A, "a cat"), (C, "a dog")]
    with pytest.raises(Invalid, match="has no column '4'"):
        read(tmp_path, data, "links.tsv", columns={"caption": "4"})


def test_columns_of_other_names_are_named(tmp_path: Path) -> None:
    rows, _ = read(tmp_path, f"link;alt\n{A};a cat\n", columns={"url": "link", "caption": "alt"})
    assert pairs(rows) == [(A, "a cat")]


@pytest.mark.parametrize(
    ("data", "code"),
    [("", "missing_columns"), ("name,size\na,1\n", "missing_columns"), (f"{A}\n{C}\n", "missing_columns"),
     (f"url,caption,url\n{A},a,{C}\n", "duplicate_column"), ("url,caption\n".encode("utf-16"), "missing_columns")],
)  # fmt: skip
def test_what_is_no_table_of_links_is_refused(tmp_path: Path, data: str | bytes, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        read(tmp_path, data)
    assert refused.value.code == code


CAPTION = st.text(st.characters(exclude_categories=("Cs", "Cc", "Co", "Cn")), max_size=30)


@given(captions=st.lists(CAPTION, min_size=1, max_size=6), delimiter=st.sampled_from(",\t;|"), header=st.booleans())
@settings(max_examples=100, deadline=None)
def test_what_the_csv_module_writes_is_read_row_by_row(captions: list[str], delimiter: str, header: bool) -> None:
    """Whatever quotes, delimiters and blanks stand in captions, no row takes another one along."""
    written = io.StringIO()
    rows = [(f"http://x/{number}.jpg", caption) for number, caption in enumerate(captions)]
    csv.writer(written, delimiter=delimiter).writerows([("url", "caption"), *rows] if header else rows)
    with tempfile.TemporaryDirectory() as folder:
        found, account = read(Path(folder), written.getvalue())
    assert [row["source_key"] for row in found] == [url for url, _ in rows]
    assert account.taken == len(rows)
    assert account.notes == {}
