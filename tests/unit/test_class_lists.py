"""Lists of classes as people's editors write them, and classes that a text model cannot tell apart."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from support.tiny_models import tiny_encoder
from touchstone.adding import class_names
from touchstone.documents import UnreadableDocument
from touchstone_contracts.catalogue import ClassLabel, filled
from touchstone_contracts.class_lists import ClassLine, read_class_list
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import ModelRef
from touchstone_encoders.embedding import class_vectors
from touchstone_encoders.loading import EncoderCache, LoadedEncoder
from touchstone_retrieval.describe.class_folders import on_disk, require_named_once
from touchstone_runtime.library import Library

CAFE = unicodedata.normalize("NFC", "café")
CATS_AND_DOGS = [ClassLine("cat", "cat"), ClassLine("dog", "dog")]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"cat\ndog\n", CATS_AND_DOGS),
        (b"cat\ndog", CATS_AND_DOGS),
        (b"\xef\xbb\xbfcat\ndog\n", CATS_AND_DOGS),
        (b"cat\r\ndog\r\n", CATS_AND_DOGS),
        (b"cat\rdog\r", CATS_AND_DOGS),
        (b"  cat \ndog\t\n", CATS_AND_DOGS),
        (b"\n\ncat\n \t \ndog\n\n", CATS_AND_DOGS),
        ("cat\ndog\n".encode("utf-16"), CATS_AND_DOGS),
        (b"n01 \t cat \nn02\tdog", [ClassLine("n01", "cat"), ClassLine("n02", "dog")]),
        ("café\n".encode("latin-1"), [ClassLine("café", CAFE)]),
        ("café\n".encode(), [ClassLine("café", CAFE)]),
        (unicodedata.normalize("NFD", "café\n").encode(), [ClassLine(unicodedata.normalize("NFD", "café"), CAFE)]),
        (b"TV/monitor\n", [ClassLine("TV/monitor", "TV/monitor")]),
        (b"tv\tTV/monitor\n", [ClassLine("tv", "TV/monitor")]),
        (b"a {name}\n{article} b\n", [ClassLine("a {name}", "a {name}"), ClassLine("{article} b", "{article} b")]),
        (b"great_white shark\n", [ClassLine("great_white shark", "great white shark")]),
        ("a\u2028b\nc\x0cd\n".encode(), [ClassLine("a\u2028b", "a\u2028b"), ClassLine("c\x0cd", "c\x0cd")]),
        (b"crane\ncrane\n", [ClassLine("crane", "crane")] * 2),
    ],
)
def test_a_list_is_read_as_it_was_meant(tmp_path: Path, data: bytes, expected: list[ClassLine]) -> None:
    path = tmp_path / "classes.txt"
    path.write_bytes(data)
    assert read_class_list(path) == expected


@pytest.mark.parametrize("data", [b"", b"\n \n", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\xff\xfec"])
def test_what_names_no_class_is_refused_with_what_to_do(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "classes.txt"
    path.write_bytes(data)
    with pytest.raises(Invalid, match=r"a class a line|write one a line") as refused:
        read_class_list(path)
    assert refused.value.code == "no_classes"


@pytest.mark.parametrize(
    ("data", "names"),
    [
        ("cat\ndog\n".encode("utf-16"), ["cat", "dog"]),
        ("café\n".encode("latin-1"), ["café"]),
        (b"\xef\xbb\xbfcat\r\n\r\n dog \r\n", ["cat", "dog"]),
        (b"n01\tcat\nn02\tgreat white shark\n", ["cat", "great white shark"]),
        (b"great_white shark\n", ["great_white shark"]),
        ("a\u2028b\n".encode(), ["a\u2028b"]),
    ],
)
def test_the_client_reads_lists_as_describe_does(tmp_path: Path, data: bytes, names: list[str]) -> None:
    path = tmp_path / "classes.txt"
    path.write_bytes(data)
    assert class_names(path) == names


def test_the_client_says_what_is_wrong_with_a_list(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    for refused, detail in ((path, "is no text: save it as UTF-8"), (tmp_path / "nowhere.txt", "cannot be read")):
        with pytest.raises(UnreadableDocument, match=detail):
            class_names(refused)


def test_a_list_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="cannot be read"):
        read_class_list(tmp_path / "nowhere.txt")


def test_one_folder_cannot_be_two_classes() -> None:
    require_named_once(["cat", "dog"])
    with pytest.raises(Invalid, match="'cat' is named twice, as class 0 and as class 2"):
        require_named_once(["cat", "dog", "cat"])


def test_a_folder_is_found_in_either_form_of_unicode(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", CAFE)
    (tmp_path / decomposed).mkdir()
    assert on_disk(tmp_path, CAFE) == decomposed
    assert on_disk(tmp_path, decomposed) == decomposed
    assert on_disk(tmp_path, "bar") == "bar"


def test_braces_in_a_name_stay_what_they_are() -> None:
    assert filled("a photo of {article} {name}", "{name} {article}") == "a photo of a {name} {article}"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> LoadedEncoder:
    folder = tmp_path_factory.mktemp("library")
    return EncoderCache(Library(folder), torch.device("cpu")).get(ModelRef.of(tiny_encoder(folder)))


def labels(*names: str) -> tuple[ClassLabel, ...]:
    return tuple(ClassLabel(id=number, display_name=name) for number, name in enumerate(names))


LONG = "the bird that " + "very " * 20


@pytest.mark.parametrize(
    ("names", "templates", "alike"),
    [
        (("cat", "dog"), ("{name}",), None),
        (("crane", "crane"), ("{name}",), None),
        ((LONG + "swims", LONG + "flies"), ("a photo of {name}",), ("swims", "flies")),
        ((LONG + "swims", "cat", LONG + "flies"), ("{name}", "one {name}"), ("swims", "flies")),
        (("Cat", "cat"), ("{name}",), ("Cat", "cat")),
        (("a" * 200, "cat"), ("{name}",), None),
        (("crane", "Crane", "crane"), ("{name}",), ("crane", "Crane")),
    ],
)
def test_classes_with_one_head_are_refused_with_both_names(
    encoder: LoadedEncoder, names: Sequence[str], templates: Sequence[str], alike: tuple[str, str] | None
) -> None:
    classes = labels(*names)
    if alike is None:
        assert len(class_vectors(encoder, classes, templates, normalize_each=True)) == len(names)
        return
    with pytest.raises(Invalid) as refused:
        class_vectors(encoder, classes, templates, normalize_each=True)
    assert refused.value.code == "classes_alike"
    assert all(name in refused.value.detail for name in alike)


def test_a_template_that_tells_them_apart_is_enough(encoder: LoadedEncoder) -> None:
    """One template is so long that the name is cut off, the other is not."""
    templates = ("very " * 20 + "{name}", "{name}")
    assert len(class_vectors(encoder, labels("cat", "dog"), templates, normalize_each=True)) == 2
    with pytest.raises(Invalid, match="'cat'"):
        class_vectors(encoder, labels("cat", "dog"), templates[:1], normalize_each=True)
