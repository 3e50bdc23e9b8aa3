"""Given embeddings of another order or encoder are found out, and those of other libraries pass: on the mini CLIP."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.mini_encoders import (
    IMAGES,
    as_jpeg,
    caption_rows,
    image_rows,
    pictures,
    redrawn_rows,
    rows_normalised_by,
)
from touchstone_contracts.steps import RowsCompared
from touchstone_retrieval.embedded_images import normalised
from touchstone_retrieval.ingest.given_embeddings import UnusableEmbeddings
from touchstone_retrieval.ingest.row_agreement import (
    AGREES,
    require_agreement,
    require_captions_fit,
    sampled_captions,
)

RNG = np.random.default_rng(0)
SAMPLE = np.sort(RNG.choice(IMAGES, size=32, replace=False))
EVERY_ROW = np.arange(IMAGES)


def compared(given_rows: np.ndarray, computed: np.ndarray | None = None) -> RowsCompared:
    """The sample, given in 16 bits, with what mini-clip computes."""
    computed = image_rows() if computed is None else computed
    return require_agreement(SAMPLE, computed[SAMPLE], given_rows.astype(np.float16), "images", "library:img.npy")


def test_rows_of_the_encoder_agree_after_16_bits() -> None:
    found = compared(image_rows())
    assert (found.of, found.rows) == ("images", 32)
    assert found.agreement > 0.999


def resized(filter: Image.Resampling) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.resize((48, 48), filter)


@pytest.mark.parametrize(
    "change",
    [*(resized(filter) for filter in Image.Resampling), as_jpeg(75), as_jpeg(50), as_jpeg(90, 48)],
    ids=[*(filter.name for filter in Image.Resampling), "JPEG 75", "JPEG 50", "resized JPEG 90"],
)
def test_rows_of_other_image_libraries_agree(change: Callable[[Image.Image], Image.Image]) -> None:
    agreement = compared(redrawn_rows(change, SAMPLE.tolist())).agreement
    assert AGREES + 0.1 < agreement <= 1


def exchanged(image: Image.Image) -> Image.Image:
    return Image.merge("RGB", image.split()[::-1])


def rotated(rows: np.ndarray) -> np.ndarray:
    matrix, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(rows.shape[1], rows.shape[1])))
    return rows @ matrix


OTHERS: dict[str, Callable[[], np.ndarray]] = {
    "other weights": lambda: image_rows("mini-clip-full"),
    "a rotated space": lambda: rotated(image_rows()),
    "the mean subtracted": lambda: normalised(image_rows() - image_rows().mean(axis=0)),
    "every dimension standardised": lambda: normalised(
        (image_rows() - image_rows().mean(axis=0)) / image_rows().std(axis=0)
    ),
    "red and blue exchanged": lambda: redrawn_rows(exchanged, SAMPLE.tolist()),
    "pixels normalised as for ImageNet": lambda: rows_normalised_by((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "pixels not normalised": lambda: rows_normalised_by((0, 0, 0), (1, 1, 1)),
    "captions": caption_rows,
    "noise": lambda: normalised(np.random.default_rng(2).normal(size=image_rows().shape)),
    "one row for all": lambda: np.broadcast_to(image_rows()[:1], image_rows().shape),
}


@pytest.mark.parametrize("name", OTHERS)
def test_rows_of_another_encoder_of_the_same_width_are_refused(name: str) -> None:
    with pytest.raises(UnusableEmbeddings, match="32 rows were compared") as refused:
        compared(OTHERS[name]())
    assert refused.value.code == "embeddings_mismatch"
    assert "another encoder" in refused.value.detail
    assert "median agreement is" in refused.value.detail


@pytest.mark.parametrize(
    ("shift", "words"), [(1, "by 1 row further down"), (-3, "3 rows further up"), (40, "40 rows further down")]
)
def test_shifted_rows_are_refused_and_the_shift_is_named(shift: int, words: str) -> None:
    with pytest.raises(UnusableEmbeddings, match="in another order") as refused:
        compared(np.roll(image_rows(), shift, axis=0))
    assert words in refused.value.detail


def test_permuted_rows_are_refused_as_permuted() -> None:
    with pytest.raises(UnusableEmbeddings, match="the rows are permuted"):
        compared(image_rows()[np.random.default_rng(3).permutation(IMAGES)])


def test_a_row_that_is_missing_in_the_middle_is_found_though_most_rows_agree() -> None:
    moved = image_rows().copy()
    lost = IMAGES * 3 // 4
    moved[lost:-1] = image_rows()[lost + 1 :]
    assert 0 < (lost <= SAMPLE).sum() < 16
    with pytest.raises(UnusableEmbeddings, match="1 row further up"):
        compared(moved)


def test_pictures_that_changed_behind_their_links_refuse_nothing() -> None:
    """Two of five: the others agree, and the changed ones are nowhere in the file."""
    computed, changed = image_rows().copy(), SAMPLE[:12]
    computed[changed] = rotated(image_rows())[changed]
    assert compared(image_rows(), computed).agreement > 0.99


def test_unusable_rows_of_the_file_do_not_disturb_the_comparison() -> None:
    holes = image_rows().copy()
    holes[np.setdiff1d(EVERY_ROW, SAMPLE)[:50]] = 0
    assert compared(holes).agreement > 0.99


def test_captions_are_compared_with_captions() -> None:
    captions = caption_rows()
    found = require_agreement(SAMPLE, captions[SAMPLE], captions.astype(np.float16), "captions", "text.npy")
    assert found.agreement > 0.999
    with pytest.raises(UnusableEmbeddings, match=r"text\.npy.*embeddings of their captions.*another encoder"):
        require_agreement(SAMPLE, captions[SAMPLE], caption_rows("mini-clip-full"), "captions", "text.npy")


def fit(given_rows: np.ndarray) -> RowsCompared:
    rng = np.random.default_rng(4)
    return require_captions_fit(EVERY_ROW, caption_rows(), given_rows.astype(np.float16), rng, "img.npy")


def test_without_an_image_captions_must_fit_their_own_rows() -> None:
    found = fit(image_rows())
    assert (found.of, found.rows) == ("captions_with_images", IMAGES)
    assert found.agreement > 0.85


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (lambda: np.roll(image_rows(), 2, axis=0), "2 rows further down"),
        (lambda: image_rows()[np.random.default_rng(5).permutation(IMAGES)], "the rows are permuted"),
        (lambda: rotated(image_rows()), "another encoder"),
    ],
    ids=["shifted", "permuted", "of another encoder"],
)
def test_without_an_image_rows_that_fit_no_caption_are_refused(rows: Callable[[], np.ndarray], words: str) -> None:
    with pytest.raises(UnusableEmbeddings, match="by chance") as refused:
        fit(rows())
    assert words in refused.value.detail


def test_sampled_captions_are_distinct_and_of_usable_rows() -> None:
    texts = ["", "a", "a", "b", "c"]
    found = sampled_captions(texts, np.array([True, True, True, True, False]), 10, np.random.default_rng(0))
    assert sorted(texts[row] for row in found) == ["a", "b"]
    assert len(sampled_captions(pictures().captions, np.ones(IMAGES, bool), 7, np.random.default_rng(0))) == 7


@settings(max_examples=40, deadline=None)
@given(st.integers(8, 60), st.integers(0, 2**32 - 1), st.booleans())
def test_any_order_that_moves_a_third_of_the_sample_is_found_out(rows: int, seed: int, reads_all: bool) -> None:
    """And the right order never is: rows of random encoders, whose embeddings lie in a narrow cone."""
    rng = np.random.default_rng(seed)
    vectors = normalised(rng.normal(size=(rows, 32)) + 3 * rng.normal(size=32))
    sample = np.arange(rows) if reads_all else np.sort(rng.choice(rows, size=max(4, rows // 2), replace=False))
    order = rng.permutation(rows)
    given_rows = vectors.astype(np.float16)
    assert require_agreement(sample, vectors[sample], given_rows, "images", "x").agreement > 0.99
    if (order[sample] != sample).sum() >= max(3, len(sample) / 3):
        with pytest.raises(UnusableEmbeddings, match="another order"):
            require_agreement(sample, vectors[sample], given_rows[order], "images", "x")
