"""A search finds each image once, best first, ties in the upstream's order; what cannot be compared is not found."""

import base64
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pydantic import ValidationError
from support.tiny_images import draw_shape
from touchstone.errors import UnreadableImage
from touchstone.searches import search_document
from touchstone_contracts.image_sets import ImageSet
from touchstone_contracts.problems import Invalid
from touchstone_contracts.search import MOST_CAPTION, MOST_IMAGE_BYTES, MOST_TEXT, UpstreamSearch
from touchstone_contracts.steps import ImagesEmbedded
from touchstone_retrieval.embedded_images import EmbeddedImages
from touchstone_retrieval.index.exact_nearest import exact_nearest
from touchstone_retrieval.searching import (
    Manifests,
    Match,
    find_words,
    first_distinct,
    manifest_cache,
    query_image_vector,
)
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.decoding import UndecodableImage
from touchstone_runtime.image_sets import BLANK_ID, SCHEMA
from touchstone_runtime.objects import MemoryObjects

IMAGE = base64.b64encode(b"an image").decode()


def shard(artifacts: Artifacts, rows: Sequence[tuple[str, str]], vectors: np.ndarray | None = None) -> EmbeddedImages:
    """Of (id, caption); bytes lie nowhere."""
    blank: dict[str, Any] = {"id": "", "caption": "", "shard": "0" * 64, "offset": 0, "length": 1, "source_key": "k"}
    facts = [blank | {"id": image, "caption": caption} for image, caption in rows]
    table = pa.Table.from_pylist([{name: row.get(name) for name in SCHEMA.names} for row in facts], schema=SCHEMA)
    images = ImageSet(manifest=artifacts.put_table(table), shards=(), count=len(rows))
    array = artifacts.put_array(np.zeros((len(rows), 2), np.float16) if vectors is None else vectors)
    return EmbeddedImages(artifacts, images, ImagesEmbedded(count=len(rows), dimension=2, image_embeddings=array), 0)


def manifests(*shards: Sequence[tuple[str, str]]) -> Manifests:
    artifacts = Artifacts(MemoryObjects())
    return Manifests([shard(artifacts, rows) for rows in shards], manifest_cache())


def ranked(scores: Sequence[float]) -> Any:
    """The rows by these scores, as an index finds them; how many were asked for at each call."""
    asked: list[int] = []
    vectors = np.array([[score, math.sqrt(1 - score**2)] for score in scores], np.float32)

    def find(limit: int) -> list[Match]:
        asked.append(limit)
        return [Match(*hit) for hit in next(exact_nearest(np.array([[1, 0]], np.float32), vectors, limit))]

    return find, asked


def test_an_image_with_several_rows_is_found_once_at_the_best_of_them() -> None:
    find, asked = ranked([0.5, 0.9, 0.8, 0.7, 0.9])
    upstream = manifests([("a", "one"), ("b", "two"), ("b", "three")], [("c", "four"), ("b", "five")])
    found = first_distinct(find, upstream, 3)
    assert [(hit.image, hit.score, hit.caption) for hit in found] == [
        ("b", 0.9, "two"), ("c", 0.7, "four"), ("a", 0.5, "one"),
    ]  # fmt: skip
    assert asked == [3, 6], "asks for more until there are three images, or no more rows"


def test_equal_scores_come_in_the_order_of_the_upstream() -> None:
    find, _ = ranked([0.25] * 6)
    upstream = manifests([(f"{number}", "") for number in range(6)])
    for limit in range(1, 7):
        assert [hit.image for hit in first_distinct(find, upstream, limit)] == [str(each) for each in range(limit)]


def test_what_was_taken_down_is_not_found() -> None:
    find, _ = ranked([0.9, 0.8])
    assert [hit.image for hit in first_distinct(find, manifests([(BLANK_ID, ""), ("a", "")]), 2)] == ["a"]


def test_rows_without_an_embedding_are_not_found() -> None:
    vectors = np.array([[0, 0], [1, 0], [0, 0]], np.float32)
    hits = next(exact_nearest(np.array([[1, 0]], np.float32), vectors, 3, [0, 2]))
    upstream = manifests([("a", ""), ("b", ""), ("c", "")])
    found = first_distinct(lambda limit: [Match(*hit) for hit in hits[:limit]], upstream, 3)
    assert [hit.image for hit in found] == ["b"]


def test_long_captions_are_cut() -> None:
    find, _ = ranked([0.9])
    [hit] = first_distinct(find, manifests([("a", "x" * 5000)]), 1)
    assert len(hit.caption) == MOST_CAPTION
    assert hit.caption.endswith("x…")


def test_words_are_found_in_whatever_script_and_order() -> None:
    upstream = manifests(
        [("a", "A RED circle"), ("b", "circles in red"), ("c", "the circle, in red")], [("d", "赤い円"), ("e", "red")]
    )
    for text, expected in (("red circle", "ac"), ("Circle", "ac"), ("円", "d"), ("red", "abce"), ("?!", ""), ("x", "")):
        find = find_words(text, upstream.captions())
        found = first_distinct(find, upstream, 10)
        assert "".join(hit.image for hit in found) == expected, text
        assert {hit.score for hit in found} <= {None}


def test_an_image_of_the_upstream_is_asked_for_by_its_id() -> None:
    artifacts = Artifacts(MemoryObjects())
    vectors = np.array([[0, 0], [3, 4]], np.float16)
    upstream = Manifests([shard(artifacts, [("a", ""), ("b", "")], vectors)], manifest_cache())
    np.testing.assert_allclose(upstream.image_vector("b"), [[0.6, 0.8]], atol=1e-3)
    for image, code in (("c", "unknown_image"), (BLANK_ID, "unknown_image"), ("a", "no_usable_embedding")):
        with pytest.raises(Invalid) as refused:
            upstream.image_vector(image)
        assert refused.value.code == code, image


@pytest.mark.parametrize("data", [b"no image", b"", draw_shape("bar", "red", np.random.default_rng(0))[:60]])
def test_bytes_that_are_no_image_are_refused_before_a_model_sees_them(data: bytes) -> None:
    tower: Any = None
    with pytest.raises(UndecodableImage, match="send a JPEG"):
        query_image_vector(tower, base64.b64encode(data).decode())


@pytest.mark.parametrize(
    ("body", "pointer", "message"),
    [
        ({}, (), "this says nothing"),
        ({"text": "a", "like": "b"}, (), "this says text and like"),
        ({"text": "a", "image": IMAGE}, (), "this says text and image"),
        ({"text": "   "}, ("text",), "at least 1 character"),
        ({"text": "x" * (MOST_TEXT + 1)}, ("text",), f"at most {MOST_TEXT} characters"),
        ({"image": "no base64!"}, ("image",), "not in base64"),
        ({"image": ""}, ("image",), "no bytes"),
        ({"image": "QQ"}, ("image",), "not in base64"),
        ({"image": "A" * (4 * MOST_IMAGE_BYTES)}, ("image",), "at most"),
        ({"image": IMAGE, "search_in": "words"}, ("search_in",), "words are searched for with a text"),
        ({"text": "a", "limit": 101}, ("limit",), "less than or equal to 100"),
        ({"text": "a", "limit": 0}, ("limit",), "greater than or equal to 1"),
        ({"text": "a", "search_in": "pixels"}, ("search_in",), "'images', 'captions' or 'words'"),
    ],
)
def test_a_search_that_cannot_be_says_what_is_wrong_with_which_field(
    body: dict[str, Any], pointer: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        UpstreamSearch.model_validate(body)
    [error] = refused.value.errors()
    assert (error["loc"], message in error["msg"]) == (pointer, True), error


def test_a_search_is_the_same_however_it_is_written() -> None:
    assert UpstreamSearch(text="  red circle ") == UpstreamSearch(text="red circle", search_in="images", limit=12)


def test_the_client_sends_a_path_bytes_or_a_picture(tmp_path: Path) -> None:
    data = draw_shape("bar", "red", np.random.default_rng(0))
    (tmp_path / "bar.png").write_bytes(data)
    picture = Image.open(io.BytesIO(data))
    sent = [search_document(None, each, None, 3, "captions") for each in (data, tmp_path / "bar.png", picture)]
    assert sent[0] == sent[1] == {"image": base64.b64encode(data).decode(), "limit": 3, "search_in": "captions"}
    again = Image.open(io.BytesIO(base64.b64decode(sent[2]["image"])))
    assert again.tobytes() == picture.tobytes()


def test_an_image_that_cannot_be_sent_is_refused_where_it_lies(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match="No such file"):
        search_document(None, tmp_path / "none.png", None, 3, "images")
    with pytest.raises(UnreadableImage, match="4 MiB"):
        search_document(None, b"x" * (MOST_IMAGE_BYTES + 1), None, 3, "images")
