"""Captions as people have them: each is found, or noted at its image, and none costs another its own."""

import json
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.odd_tars import Put, image, opened_tar, tar
from support.tiny_images import draw_shape
from touchstone_contracts.catalogue import ImageFolder
from touchstone_retrieval.ingest.caption_table import read_captions
from touchstone_retrieval.ingest.captions import clean_caption, composed
from touchstone_retrieval.ingest.delimited import MOST_LINE
from touchstone_retrieval.ingest.folder_source import images_in, in_image_folder, open_image_folder, with_captions
from touchstone_retrieval.ingest.image_set import write_source
from touchstone_retrieval.ingest.source import UnreadableSource
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.digests import listing_digest
from touchstone_runtime.objects import MemoryObjects

UNREADABLE = ("unreadable_caption",)
Form = Literal["NFC", "NFD"]

DESCRIPTIONS: list[tuple[str, bytes, str, tuple[str, ...]]] = [
    ("a caption", b'{"caption": "a cat"}', "a cat", ()),
    ("a text", b'{"text": "a cat"}', "a cat", ()),
    ("null beside a text", b'{"caption": null, "text": "a cat"}', "a cat", ()),
    ("NaN beside a text", b'{"caption": NaN, "text": "a cat"}', "a cat", ()),
    ("blank beside a text", b'{"caption": " ", "text": "a cat"}', "a cat", ()),
    ("an object beside a text", b'{"caption": {"en": "x"}, "text": "a cat"}', "a cat", ()),
    ("NaN elsewhere", b'{"caption": "a cat", "similarity": NaN, "size": -Infinity}', "a cat", ()),
    ("null", b'{"caption": null}', "", ()),
    ("NaN", b'{"caption": NaN}', "", ()),
    ("nothing of it", b'{"url": "http://x"}', "", ()),
    ("a number", b'{"caption": 12}', "12", ()),
    ("a number as it is written", b'{"caption": 1.50e3}', "1.50e3", ()),
    ("a list", b'{"caption": ["a cat", "a dog"]}', "a cat", ()),
    ("a list with blanks", b'{"caption": [null, "", "a dog"]}', "a dog", ()),
    ("a list of objects", b'{"caption": [{"text": "x"}]}', "", UNREADABLE),
    ("an object", b'{"caption": {"en": "a cat"}}', "", UNREADABLE),
    ("true", b'{"caption": true}', "", UNREADABLE),
    ("a list by itself", b'["a cat", "a dog"]', "a cat", ()),
    ("a string by itself", b'"a cat"', "a cat", ()),
    ("null by itself", b"null", "", ()),
    ("a byte order mark", b'\xef\xbb\xbf{"caption": "a cat"}', "a cat", ()),
    ("half a description", b'{"caption": "a c', "", UNREADABLE),
    ("an empty file", b"", "", UNREADABLE),
    ("brackets 100,000 deep", b'{"caption": "a cat", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "", UNREADABLE),
    ("brackets 101 deep", b'{"caption": "a cat", "x": ' + b"[" * 100 + b"]" * 100 + b"}", "", UNREADABLE),
    ("brackets 100 deep", b'{"caption": "a cat", "x": ' + b"[" * 99 + b"]" * 99 + b"}", "a cat", ()),
    ("brackets within a text", b'{"caption": "a cat ' + b'[\\"' * 200 + b'"}', "a cat " + '["' * 200, ()),
    ("quotes without an end", b'"\\' * 400_000, "", UNREADABLE),
    ("a number of 100,000 digits", b'{"caption": "a cat", "x": ' + b"9" * 100_000 + b"}", "a cat", ()),
    ("more than 1 MiB", b'{"caption": "' + b"x" * 2**20 + b'"}', "", UNREADABLE),
    ("a surrogate", b'{"caption": "a \\ud800cat"}', "a cat", ()),
    ("bytes that are no UTF-8", b'{"caption": "caf\xe9"}', "caf\N{REPLACEMENT CHARACTER}", ()),
]


@pytest.mark.parametrize(("data", "caption", "notes"), [c[1:] for c in DESCRIPTIONS], ids=[c[0] for c in DESCRIPTIONS])
def test_a_description_in_json(tmp_path: Path, data: bytes, caption: str, notes: tuple[str, ...]) -> None:
    before, after = Put("a.json", b'{"caption": "before"}'), Put("z.json", b'{"caption": "after"}')
    members = [image("a.jpg"), before, image("x.jpg"), Put("x.json", data), image("z.jpg"), after]
    rows = [*opened_tar(tmp_path, tar(members)).rows()]
    assert [(row.caption, row.notes) for row in rows] == [("before", ()), (caption, notes), ("after", ())]
    assert all(row.image for row in rows)


BESIDE: list[tuple[str, Sequence[Put], str, tuple[str, ...]]] = [
    ("text before json", [Put("x.json", b'{"caption": "json"}'), Put("x.txt", b"text")], "text", ()),
    ("json for a blank text", [Put("x.json", b'{"caption": "json"}'), Put("x.txt", b" \n")], "json", ()),
    ("a file of its own ending", [Put("x.caption", b"a cat")], "a cat", ()),
    ("text beside a broken json", [Put("x.json", b"{"), Put("x.txt", b"text")], "text", ()),
    ("the first of two", [Put("x.txt", b"first"), Put("x.txt", b"second")], "first", ()),
    ("a symbolic link", [Put("x.txt", kind="symbolic", to="/etc/passwd")], "", UNREADABLE),
    ("a hard link", [Put("y.txt", b"y"), image("y.jpg"), Put("x.txt", kind="hard", to="y.txt")], "y", ()),
    ("a byte order mark", [Put("x.txt", b"\xef\xbb\xbfa cat")], "a cat", ()),
    ("no file", [], "", ()),
]


@pytest.mark.parametrize(("members", "caption", "notes"), [c[1:] for c in BESIDE], ids=[c[0] for c in BESIDE])
def test_a_caption_beside_its_image(
    tmp_path: Path, members: Sequence[Put], caption: str, notes: tuple[str, ...]
) -> None:
    rows = {row.key: row for row in opened_tar(tmp_path, tar([image("x.jpg"), *members])).rows()}
    assert (rows["x"].caption, rows["x"].notes) == (caption, notes)


ZWJ, ZWNJ, SOFT_HYPHEN, EMOJI = "\u200d", "\u200c", "\u00ad", "\U0001f468\u200d\U0001f469\u200d\U0001f467"

TEXTS = [
    ("Tom &amp; Jerry &lt;3 &quot;caf&eacute;&quot;", 'Tom & Jerry <3 "café"'),
    ("&amp;amp;", "&amp;"),
    ("a&nbsp;&nbsp;b", "a b"),
    ("&#233;&#xe9;", "éé"),
    ("&#" + "9" * 5000 + ";", "\N{REPLACEMENT CHARACTER}"),
    ("&#xd800;&#0;", "\N{REPLACEMENT CHARACTER}" * 2),
    ("AT&T", "AT&T"),
    ("cafe\u0301", "café"),
    ("caf&eacute; cafe&#x301;", "café café"),
    (f"extra{SOFT_HYPHEN}ordinary", "extraordinary"),
    ("extra&shy;ordinary", "extraordinary"),
    ("e\u00ad\u0301", "é"),
    ("zero\u200bwidth\u2060less", "zerowidthless"),
    ("\ufeffa cat", "a cat"),
    ("left\u200e-to-right\u202c", "left-to-right"),
    ("hid\U000e0068den", "hidden"),
    (f"zero{ZWJ}width{ZWNJ}", "zerowidth"),
    (EMOJI, EMOJI),
    ("می\u200cخواهم", "می\u200cخواهم"),
    ("क्\u200dष", "क्\u200dष"),
    ("漢\u200d字", "漢字"),
    ("a\x00b\x1b[31m", "a b [31m"),
    ("a\ue000b\ufdd0c\U0001fffed\U0010ffffe", "a b c d e"),
    ("a\u2028b\u3000c", "a b c"),
    ("a cat <|endoftext|> <end_of_text>", "a cat <|endoftext|> <end_of_text>"),
    (float("nan"), ""),
    (12.5, "12.5"),
]


@pytest.mark.parametrize(("raw", "clean"), TEXTS, ids=lambda value: ascii(value)[:40])
def test_the_text_of_a_caption(raw: object, clean: str) -> None:
    assert clean_caption(raw) == clean


def test_no_code_point_is_treated_by_the_unicode_version_of_this_python() -> None:
    """Those that Unicode 3.2 does not know are kept, apart from ranges that never become letters."""
    later = [chr(point) for point in range(sys.maxunicode + 1) if unicodedata.ucd_3_2_0.category(chr(point)) == "Cn"]
    assert len(later) > 700_000
    reserved = {ord(letter) for letter in later if clean_caption(f"x{letter}x") != f"x{letter}x"}
    noncharacters = {
        *range(0xFDD0, 0xFDF0),
        *(0x10000 * plane + last for plane in range(17) for last in (0xFFFE, 0xFFFF)),
    }
    tags = {*range(0xE0000, 0xE1000)} - {*range(0xE0100, 0xE01F0)}
    marks = {0x61C, *range(0x2064, 0x206A), *range(0xFFF0, 0xFFF9), *range(0x1BCA0, 0x1BCA4)}
    assert reserved <= noncharacters | tags | marks
    assert len(reserved) > 3_000
    # Two characters of Unicode 16 that compose there, and an accent that a letter of 3.2 does compose with.
    assert composed("\U00011382\U000113c9 e\u0301") == "\U00011382\U000113c9 é"


def folder(root: Path, files: dict[str, bytes]) -> ImageFolder:
    for name, data in files.items():
        (root / name).write_bytes(data)
    images = images_in(root)
    digest = listing_digest(root, with_captions(root, images))
    return ImageFolder(location="library:photos", digest=digest, images=len(images))


HEAD = b"file_name,caption\n"
MALFORMED, REPEATED = ("malformed_row",), ("repeated_row",)
Found = dict[str, tuple[str, tuple[str, ...]]]

TABLES: list[tuple[str, bytes, Found, dict[str, list[str]]]] = [
    ("commas in quotes", HEAD + b'a.png,"one, two"\nb.png,b\n', {"a": ("one, two", ()), "b": ("b", ())}, {}),
    ("lines in quotes", HEAD + b'a.png,"one\ntwo\n"\nb.png,b\n', {"a": ("one two", ()), "b": ("b", ())}, {}),
    ("quotes in quotes", HEAD + b'a.png,"say ""one"""\n', {"a": ('say "one"', ())}, {}),
    (
        "an unclosed quote",
        HEAD + b'a.png,"one\nb.png,b\nc.png,c\n',
        {"a": ("one", MALFORMED), "b": ("b", ()), "c": ("c", ())},
        {},
    ),
    (
        "an unclosed quote before a quoted row",
        HEAD + b'a.png,"one\nb.png,"b"\nc.png,"c"\n',
        {"a": ("one", MALFORMED), "b": ("b", ()), "c": ("c", ())},
        {},
    ),
    (
        "two unclosed quotes",
        HEAD + b'a.png,"one\nb.png,"two\nc.png,c\n',
        {"a": ("one", MALFORMED), "b": ("two", MALFORMED), "c": ("c", ())},
        {},
    ),
    ("an unclosed quote at the end", HEAD + b'a.png,a\nb.png,"two', {"a": ("a", ()), "b": ("two", MALFORMED)}, {}),
    (
        "an unclosed quote before the name",
        b'caption,file_name\n"one,a.png\n"two",b.png\nthree,c.png\n',
        {"b": ("two", ()), "c": ("three", ())},
        {"unreadable_row": ["line 2 of metadata.csv of library:photos"]},
    ),
    (
        "lines in quotes before the name",
        b'caption,file_name\n"one\ntwo",a.png\nthree,b.png\n',
        {"a": ("one two", ()), "b": ("three", ())},
        {},
    ),
    ("a quote within a caption", HEAD + b'a.png,5" of snow\nb.png,b\n', {"a": ('5" of snow', ()), "b": ("b", ())}, {}),
    (
        "text behind a quote",
        HEAD + b'a.png,"5" of snow\nb.png,b\n',
        {"a": ("5 of snow", MALFORMED), "b": ("b", ())},
        {},
    ),
    ("commas without quotes", HEAD + b"a.png,one, two\nb.png,b\n", {"a": ("one, two", MALFORMED), "b": ("b", ())}, {}),
    ("empty columns behind", HEAD + b"a.png,one,,\n", {"a": ("one", ())}, {}),
    ("a blank behind the comma", b'file_name, caption\na.png, "one, two"\n', {"a": ("one, two", ())}, {}),
    (
        "a huge field",
        HEAD + b'a.png,"' + b"x" * 200_000 + b'"\nb.png,b\n',
        {"a": ("x" * 2000, MALFORMED), "b": ("b", ())},
        {},
    ),
    (
        "a huge line",
        HEAD + b"a.png," + b"x " * MOST_LINE * 3 + b"\nb.png,b\n",
        {"a": (("x " * 1000).strip(), ()), "b": ("b", ())},
        {},
    ),
    ("columns in another order", b"width,Caption,FILE_NAME\n5,one,a.png\n", {"a": ("one", ())}, {}),
    ("a column text", b"file_name,text\na.png,one\n", {"a": ("one", ())}, {}),
    (
        "a column text for a blank caption",
        b"file_name,caption,text\na.png,,one\nb.png,x,y\n",
        {"a": ("one", ()), "b": ("x", ())},
        {},
    ),
    ("semicolons", b"file_name;caption\na.png;one, two\n", {"a": ("one, two", ())}, {}),
    ("tabs", b"file_name\tcaption\na.png\tone, two\n", {"a": ("one, two", ())}, {}),
    (
        "a byte order mark and CRLF",
        b"\xef\xbb\xbffile_name,caption\r\na.png,one\r\n\r\nb.png,b",
        {"a": ("one", ()), "b": ("b", ())},
        {},
    ),
    ("one file twice", HEAD + b"a.png,first\na.png,second\na.png,third\n", {"a": ("first", REPEATED)}, {}),
    ("a file that is not there", HEAD + b"z.png,z\na.png,a\n", {"a": ("a", ())}, {"caption_without_image": ["z.png"]}),
    (
        "a row without a name",
        HEAD + b"a.png,a\n,z\n",
        {"a": ("a", ())},
        {"unreadable_row": ["line 3 of metadata.csv of library:photos"]},
    ),
    ("a row of a name", HEAD + b"a.png\nb.png,b\n", {"b": ("b", ())}, {}),
    ("a number", HEAD + b"a.png,007\n", {"a": ("007", ())}, {}),
    ("a path", HEAD + b"./a.png,a\n", {"a": ("a", ())}, {}),
    ("no rows", HEAD, {}, {}),
]


@pytest.mark.parametrize(("table", "expected", "unused"), [case[1:] for case in TABLES], ids=[c[0] for c in TABLES])
def test_a_table_of_captions(tmp_path: Path, table: bytes, expected: Found, unused: dict[str, list[str]]) -> None:
    files = {"a.png": b"1", "b.png": b"2", "c.png": b"3", "metadata.csv": table}
    source = open_image_folder(tmp_path, folder(tmp_path, files))
    found = {row.key.removesuffix(".png"): (row.caption, row.notes) for row in source.rows()}
    assert found == dict.fromkeys("abc", ("", ())) | expected
    assert source.unused.names == unused


JSON_LINES: list[tuple[str, bytes, Found, dict[str, list[str]]]] = [
    (
        "as Hugging Face writes it",
        b'{"file_name": "a.png", "text": "one"}\n{"file_name": "b.png", "text": "b"}\n',
        {"a": ("one", ()), "b": ("b", ())},
        {},
    ),
    (
        "a broken line",
        b'{"file_name": "a.png", "te\n{"file_name": "b.png", "text": "b"}',
        {"b": ("b", ())},
        {"unreadable_row": ["line 1 of metadata.jsonl of library:photos"]},
    ),
    (
        "a huge line",
        b'{"file_name": "a.png", "text": "' + b"x" * 2**22 + b'"}\n{"file_name": "b.png", "text": "b"}',
        {"b": ("b", ())},
        {"unreadable_row": ["line 1 of metadata.jsonl of library:photos"]},
    ),
    ("an object for a caption", b'\n{"file_name": "a.png", "text": {}}\n', {"a": ("", UNREADABLE)}, {}),
    (
        "a number for a name",
        b'{"file_name": ["a.png"], "text": "one"}\n',
        {},
        {"unreadable_row": ["line 1 of metadata.jsonl of library:photos"]},
    ),
    ("a file that is not there", b'{"file_name": "z.png", "text": "z"}\n', {}, {"caption_without_image": ["z.png"]}),
    (
        "brackets 100,000 deep",
        b'{"file_name": "a.png", "x": ' + b"[" * 100_000 + b'\n{"file_name": "b.png", "text": "b"}',
        {"b": ("b", ())},
        {"unreadable_row": ["line 1 of metadata.jsonl of library:photos"]},
    ),
]


@pytest.mark.parametrize(("table", "expected", "unused"), [c[1:] for c in JSON_LINES], ids=[c[0] for c in JSON_LINES])
def test_a_table_in_json_lines(tmp_path: Path, table: bytes, expected: Found, unused: dict[str, list[str]]) -> None:
    files = {"a.png": b"1", "b.png": b"2", "metadata.jsonl": table}
    source = open_image_folder(tmp_path, folder(tmp_path, files))
    found = {row.key.removesuffix(".png"): (row.caption, row.notes) for row in source.rows()}
    assert found == dict.fromkeys("ab", ("", ())) | expected
    assert source.unused.names == unused


def test_of_both_tables_the_csv_counts_and_the_other_fills_up(tmp_path: Path) -> None:
    lines = [json.dumps({"file_name": f"{name}.png", "text": "from json"}) for name in "ab"]
    files = {"a.png": b"1", "b.png": b"2", "metadata.csv": HEAD + b"a.png,from csv\n"}
    rows = open_image_folder(tmp_path, folder(tmp_path, files | {"metadata.jsonl": "\n".join(lines).encode()})).rows()
    assert [(row.caption, row.notes) for row in rows] == [("from csv", REPEATED), ("from json", ())]
    assert in_image_folder(Path("metadata.jsonl"))


def test_a_blank_caption_in_the_table_leaves_the_one_beside_the_image(tmp_path: Path) -> None:
    files = {"a.png": b"1", "a.txt": b"beside", "metadata.csv": HEAD + b"a.png,\n"}
    assert [row.caption for row in open_image_folder(tmp_path, folder(tmp_path, files)).rows()] == ["beside"]


@pytest.mark.parametrize(("in_folder", "in_table"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFC", "NFC")])
def test_a_name_in_another_unicode_form_finds_its_image(tmp_path: Path, in_folder: Form, in_table: Form) -> None:
    name = "café.png"
    table = f"file_name,caption\n{unicodedata.normalize(in_table, name)},one\n".encode()
    (tmp_path / "metadata.csv").write_bytes(table)
    here = unicodedata.normalize(in_folder, name)
    found = read_captions(tmp_path, [here], "library:photos")
    assert (found.captions, dict(found.unused.counts)) == ({here: "one"}, {})


@pytest.mark.parametrize(
    ("table", "code"),
    [
        (b"name,words\na.png,x\n", "missing_columns"),
        (b"", "missing_columns"),
        (HEAD.decode().encode("utf-16"), "missing_columns"),
    ],
    ids=["other columns", "nothing", "utf-16"],
)
def test_a_table_without_its_columns_is_refused(tmp_path: Path, table: bytes, code: str) -> None:
    source = folder(tmp_path, {"a.png": b"1", "metadata.csv": table})
    with pytest.raises(UnreadableSource) as refused:
        open_image_folder(tmp_path, source)
    assert refused.value.code == code


def test_a_hostile_table_takes_no_longer_than_an_honest_one(tmp_path: Path) -> None:
    """A row of every kind that leaves a quote open, 5,000 times: none is read to the end of the table."""
    rows = b"".join(b'a%d.png,x",""""\n' % number for number in range(5_000))
    (tmp_path / "metadata.csv").write_bytes(HEAD + rows)
    found = read_captions(tmp_path, [f"a{number}.png" for number in range(5_000)], "library:photos")
    assert len(found.captions) == 5_000


def test_these_tests_look_at_enough() -> None:
    assert len(DESCRIPTIONS) + len(BESIDE) + len(TEXTS) + len(TABLES) + len(JSON_LINES) >= 100


PICTURE = draw_shape("circle", "red", np.random.default_rng(0))
FILES = ("a.png", "b.JPG", "caf\u00e9.png", "with blank.png", "z.png")
LONG = "x" * (MOST_LINE + 9)
ROWS: dict[str, tuple[str, str, bool]] = {
    "plain": ("{name}{d}one bird", "one bird", False),
    "quoted": ('{name}{d}"one{d}two"', "one{d}two", False),
    "several lines": ('{name}{d}"one\ntwo"', "one two", False),
    "doubled quotes": ('{name}{d}"say ""one"""', 'say "one"', False),
    "a quote within": ('{name}{d}5" of snow', '5" of snow', False),
    "unclosed": ('{name}{d}"one', "one", True),
    "text behind a quote": ('{name}{d}"one" two', "one two", True),
    "delimiters without quotes": ("{name}{d}one{d}two", "one{d}two", True),
    "a huge field": (f'{{name}}{{d}}"{LONG}"', LONG[:2000], True),
    "no caption": ("{name}{d}", "", False),
    "no UTF-8": ("{name}{d}caf\udce9", "caf\N{REPLACEMENT CHARACTER}", False),
}
"""Kind of row -> what is written, the caption that is read (`{d}`: the delimiter), and whether that is malformed."""


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from([*ROWS, "no name", "blank"]), st.sampled_from([*FILES, "gone.png"])), max_size=12
    ),
    broken=st.sets(st.sampled_from(FILES[:-1])),
    delimiter=st.sampled_from([",", ";", "\t"]),
    line_end=st.sampled_from(["\n", "\r\n"]),
    form=st.sampled_from(["NFC", "NFD"]),
    marked=st.booleans(),
)
def test_every_row_of_a_malformed_table_is_used_or_told_by_name_and_costs_no_image(
    rows: list[tuple[str, str]], broken: set[str], delimiter: str, line_end: str, form: Form, marked: bool
) -> None:
    text, number = f"file_name{delimiter}caption{line_end}", 2
    expected: dict[str, tuple[str, set[str]]] = {name: ("", set()) for name in FILES}
    named, told = set[str](), dict[str, list[str]]()
    for kind, name in rows:
        written, caption, malformed = ROWS.get(kind, ("{d}one" if kind == "no name" else "", "", False))
        line = written.format(name=unicodedata.normalize(form, name), d=delimiter).replace("\n", line_end)
        if kind == "no name":
            told.setdefault("unreadable_row", []).append(f"line {number} of metadata.csv of library:photos")
        elif kind != "blank" and name not in FILES:
            told.setdefault("caption_without_image", []).append(name)
        elif kind != "blank" and name in named:
            expected[name][1].update(REPEATED)
        elif kind != "blank":
            named.add(name)
            expected[name] = (caption.format(d=delimiter).replace("\t", " "), set(MALFORMED if malformed else ()))
        text, number = text + line + line_end, number + line.count("\n") + 1
    with TemporaryDirectory() as name:
        root = Path(name)
        files = {file: b"no image" if file in broken else PICTURE for file in FILES}
        table = text.encode("utf-8-sig" if marked else "utf-8", "surrogateescape")
        source = open_image_folder(root, folder(root, files | {"metadata.csv": table}))
        found = {row.key: (row.caption, set(row.notes)) for row in source.rows()}
        images, account = write_source(source, Artifacts(MemoryObjects()))
    assert found == expected
    assert source.unused.names == told
    refused = {name for each in account.refused.values() for name in each.names}
    assert (account.seen, account.taken, images.count) == (len(FILES), len(FILES) - len(broken), account.taken)
    assert refused == broken
    assert {reason: named.names for reason, named in account.notes.items() if reason in told} == {
        reason: tuple(names) for reason, names in told.items()
    }
