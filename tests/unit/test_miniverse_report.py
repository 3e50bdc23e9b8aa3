"""The report's statistics find what was planted, and its pictures are the ones asked for."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from touchstone_miniverse.report.pictures import Labelled, upstream_of_class
from touchstone_miniverse.report.sheets import SIDE, by_prompt, real_and_generated
from touchstone_miniverse.report.statistics import (
    frechet_against_floor,
    frechet_distance,
    mean_pairwise_distance,
    nearest_cosine_distances,
    nearest_pixel_distances,
    nearness,
)
from touchstone_miniverse.sources import Kind
from touchstone_miniverse.upstream import Pairs

RNG = np.random.default_rng(3)


def test_frechet_distance_of_two_gaussians_is_the_known_one() -> None:
    first = RNG.standard_normal((20_000, 4))
    second = 2 * RNG.standard_normal((20_000, 4)) + np.array([3.0, 0, 0, 0])
    # |shift|^2 + tr(I + 4I - 2 * 2I) = 9 + 4
    assert frechet_distance(first, second) == pytest.approx(13, rel=0.03)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-6)


def test_floor_is_the_ratio_one_for_pictures_of_the_same_kind() -> None:
    real, alike = RNG.standard_normal((4_000, 4)), RNG.standard_normal((4_000, 4))
    found = frechet_against_floor(alike, real, RNG)
    assert found["pictures"] == 2_000
    assert found["ratio"] == pytest.approx(1, abs=0.8)
    assert frechet_against_floor(alike + 1, real, RNG)["ratio"] > 100


def test_identical_pictures_have_no_variety_and_opposite_ones_the_most() -> None:
    same, opposite = np.array([[1.0, 0], [1, 0]]), np.array([[1.0, 0], [-1, 0]])
    labels = np.zeros(2, np.int64)
    assert mean_pairwise_distance(same, labels) == pytest.approx(0)
    assert mean_pairwise_distance(opposite, labels) == pytest.approx(2)
    both = np.concatenate([same, opposite])
    assert mean_pairwise_distance(both, np.array([0, 0, 1, 1])) == pytest.approx(1)


def drawn_in(styles: np.ndarray, count: int) -> np.ndarray:
    """Pictures a little apart from one of the styles each."""
    return np.stack([styles[n % len(styles)] + 0.1 * RNG.standard_normal(12) for n in range(count)]).astype(np.float32)


def test_planted_copies_are_found_beyond_chance() -> None:
    upstream = RNG.standard_normal((300, 12)).astype(np.float32)
    held_out = nearest_pixel_distances(RNG.standard_normal((400, 12)).astype(np.float32), upstream)
    honest = nearness(nearest_pixel_distances(RNG.standard_normal((400, 12)).astype(np.float32), upstream), held_out)
    assert honest.share <= honest.upper
    copies = np.concatenate([upstream[:40] + 1e-3, RNG.standard_normal((360, 12)).astype(np.float32)])
    found = nearness(nearest_pixel_distances(copies, upstream), held_out)
    assert found.share == pytest.approx(0.1, abs=0.02)
    assert found.share > found.upper


def test_only_copies_are_nearer_than_the_upstreams_own_drawings_are_to_each_other() -> None:
    styles = RNG.standard_normal((5, 12))
    upstream, generated = drawn_in(styles, 300), drawn_in(styles, 400)
    each = np.arange(len(upstream))
    own_styles = nearest_pixel_distances(upstream, upstream, unlike=(each, each))
    held_out = nearest_pixel_distances(RNG.standard_normal((400, 12)).astype(np.float32), upstream)
    near = nearest_pixel_distances(generated, upstream)
    assert nearness(near, held_out).share > 0.9
    assert nearness(near, own_styles).share <= nearness(near, own_styles).upper
    copies = np.concatenate([upstream[:40] + 1e-3, generated[40:]])
    found = nearness(nearest_pixel_distances(copies, upstream), own_styles)
    assert found.share > found.upper


def test_nearest_distances_agree_with_all_pairs() -> None:
    some, others = RNG.standard_normal((700, 5)), RNG.standard_normal((30, 5))
    some, others = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (some, others))
    assert nearest_cosine_distances(some, others) == pytest.approx((1 - some @ others.T).min(1))
    expected = np.sqrt(((some[:, None] - others) ** 2).mean(-1)).min(1)
    found = nearest_pixel_distances(some.astype(np.float32), others.astype(np.float32))
    assert found == pytest.approx(expected, abs=1e-3)


def test_a_picture_is_not_compared_with_its_own_drawing() -> None:
    upstream = np.array([[0, 0], [0, 0], [3, 4]], np.float32)
    drawings = np.array([7, 7, 8])
    assert nearest_pixel_distances(upstream, upstream).tolist() == [0, 0, 0]
    apart = nearest_pixel_distances(upstream, upstream, unlike=(drawings, drawings), block=2)
    assert apart == pytest.approx([np.sqrt(12.5)] * 3)
    turned = np.array([[1.0, 0], [1, 0], [0, 1]])
    assert nearest_cosine_distances(turned, turned, unlike=(drawings, drawings), block=2).tolist() == [1, 1, 1]


def test_real_pictures_of_a_class_are_those_whose_caption_begins_with_its_name() -> None:
    captions = [
        "cat, s, pet, mammal", "cat face, s, mammal", "cat, s, mammal", "cat, an icon", "bus stop, s, land vehicle",
    ]  # fmt: skip
    kinds = [Kind.EMOJI, Kind.EMOJI, Kind.EMOJI, Kind.INTERFACE, Kind.EMOJI]
    pairs = Pairs(
        np.arange(5, dtype=np.uint8)[:, None, None, None].repeat(3, 3), captions, list("abcde"), kinds, list("abcde")
    )
    fine = {"name": "animals", "classes": [{"id": 0, "display_name": "cat"}, {"id": 1, "display_name": "cat face"}]}
    rows, labels = upstream_of_class(pairs, fine, per_class=8)
    assert labels.tolist() == [0, 0, 1]
    assert rows.tolist() == [0, 2, 1]
    assert len(upstream_of_class(pairs, fine, per_class=1)[0]) == 2
    broad = {
        "name": "broad",
        "classes": [{"id": 0, "display_name": "mammal"}, {"id": 1, "display_name": "land vehicle"}],
    }
    assert upstream_of_class(pairs, broad, per_class=8)[1].tolist() == [0, 0, 0]  # a bus stop is no vehicle


def test_contact_sheets_have_a_row_for_every_class_and_prompt(tmp_path: Path) -> None:
    red, blue = Image.new("RGB", (32, 32), "red"), Image.new("RGB", (32, 32), "blue")
    target = {"name": "t", "classes": [{"id": 0, "display_name": "one"}, {"id": 1, "display_name": "two"}]}
    real, generated = Labelled([red] * 4, np.array([0, 0, 1, 1])), Labelled([blue] * 2, np.array([0, 1]))
    sheet = real_and_generated(target, real, generated)
    assert sheet.height == 3 * SIDE
    colours = {colour for _, colour in sheet.getcolors(maxcolors=100_000) or []}
    assert {(255, 0, 0), (0, 0, 255)} <= colours
    assert by_prompt(["a", "b", "c"], [red] * 6).height == 3 * SIDE
