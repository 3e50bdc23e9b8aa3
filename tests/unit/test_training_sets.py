"""Training sets of one arm are nested, balanced as asked, and draw an image whatever else is in the pool."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Literal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest
from touchstone_contracts.curation import Curation
from touchstone_contracts.identity import sha256
from touchstone_contracts.problems import Invalid
from touchstone_runtime.training_sets import Pool, draw_training_set, kept_pool, training_order, training_set_digest

Ranking = Literal["random", "score"]
Balance = Literal["stratified", "uniform"]
rankings: st.SearchStrategy[Ranking] = st.sampled_from(["random", "score"])
balances: st.SearchStrategy[Balance] = st.sampled_from(["stratified", "uniform"])
rules = st.builds(Curation, ranking=rankings, balance=balances)
seeds = st.integers(0, 2**31)


def pool_of(class_ids: list[int]) -> Pool:
    ids = [sha256(str(position).encode()) for position in range(len(class_ids))]
    scores = np.random.default_rng(0).uniform(size=len(class_ids)).astype(np.float32)
    return Pool(
        rows=np.arange(len(class_ids)),
        ids=ids,
        origins=ids,
        class_ids=np.array(class_ids, dtype=np.int32),
        scores=scores,
        parts=np.full(len(class_ids), -1),
    )


pools = st.lists(st.integers(0, 6), min_size=1, max_size=80).map(lambda ids: pool_of(sorted(ids)))


@given(pools, rules, seeds, st.data())
def test_smaller_training_set_is_a_prefix_of_the_larger(
    pool: Pool, rules: Curation, seed: int, data: st.DataObject
) -> None:
    large = data.draw(st.integers(1, len(pool)))
    small = data.draw(st.integers(1, large))
    larger = draw_training_set(pool, large, seed, rules)
    assert draw_training_set(pool, small, seed, rules).tolist() == larger[:small].tolist()


@given(pools, rules, seeds)
def test_whole_pool_is_every_image_once(pool: Pool, rules: Curation, seed: int) -> None:
    assert sorted(training_order(pool, seed, rules)) == list(range(len(pool)))


@given(pools, rankings, seeds, st.data())
def test_stratified_classes_differ_by_one_until_they_run_out(
    pool: Pool, ranking: Ranking, seed: int, data: st.DataObject
) -> None:
    size = data.draw(st.integers(1, len(pool)))
    drawn = draw_training_set(pool, size, seed, Curation(ranking=ranking, balance="stratified"))
    had = {label: int((pool.class_ids == label).sum()) for label in np.unique(pool.class_ids)}
    got = {label: int((pool.class_ids[drawn] == label).sum()) for label in had}
    highest = max(got.values())
    assert all(count >= min(highest - 1, had[label]) for label, count in got.items())


@given(pools, balances, seeds)
def test_best_scores_come_first_within_what_is_ranked(pool: Pool, balance: Balance, seed: int) -> None:
    order = training_order(pool, seed, Curation(ranking="score", balance=balance))
    groups = [order] if balance == "uniform" else [order[pool.class_ids[order] == c] for c in set(pool.class_ids)]
    assert groups
    assert all((np.diff(pool.scores[group]) <= 0).all() for group in groups)


def test_classes_without_images_are_passed_over() -> None:
    order = training_order(pool_of([0, 0, 5]), 3, Curation())
    assert sorted(order[:2])[-1] == 2
    assert len(order) == 3


def test_seeds_draw_different_images_and_the_same_seed_the_same() -> None:
    pool = pool_of(sorted([0, 1, 2] * 20))
    drawn = [tuple(draw_training_set(pool, 12, seed, Curation())) for seed in (0, 1, 2, 0)]
    assert drawn[0] == drawn[3]
    assert len(set(drawn)) == 3


def test_no_class_gains_by_a_low_id_where_the_size_leaves_a_remainder() -> None:
    pool = pool_of(sorted([0, 1, 2, 3] * 5))
    first = [int(pool.class_ids[draw_training_set(pool, 1, seed, Curation())[0]]) for seed in range(200)]
    assert min(np.bincount(first, minlength=4)) > 25


def perturbed(pool: Pool, name: str) -> Pool:
    """One image of each of the pool's, sorted by (class, id) as a pool is."""
    ids = [sha256(f"{name} of {image}".encode()) for image in pool.ids]
    order = np.lexsort((np.array(ids), pool.class_ids))
    return replace(pool, ids=ids, origins=pool.ids).take(order)


def drawn_origins(pool: Pool, size: int, seed: int, rules: Curation) -> list[str]:
    return [pool.origins[position] for position in draw_training_set(pool, size, seed, rules)]


@given(pools, balances, seeds, st.data())
def test_perturbations_of_one_arm_draw_the_parents_that_the_arm_itself_draws(
    pool: Pool, balance: Balance, seed: int, data: st.DataObject
) -> None:
    size, rules = data.draw(st.integers(1, len(pool))), Curation(balance=balance)
    parents = [pool.ids[position] for position in draw_training_set(pool, size, seed, rules)]
    arms = [perturbed(pool, f"gamma {gamma}") for gamma in (0.0, 0.3, 0.9)]
    assert [drawn_origins(arm, size, seed, rules) for arm in arms] == [parents] * 3


def without(removed: int) -> Callable[[list[str], Pool], list[str]]:
    return lambda order, pool: [image for image in order if image != pool.ids[removed]]


@given(pools, seeds, st.data())
def test_an_image_that_is_filtered_out_moves_no_other(pool: Pool, seed: int, data: st.DataObject) -> None:
    removed, rules = data.draw(st.integers(0, len(pool) - 1)), Curation(balance="uniform")
    filtered = pool.take(np.delete(np.arange(len(pool)), removed))
    order = drawn_origins(pool, len(pool), seed, rules)
    assert drawn_origins(filtered, len(filtered), seed, rules) == without(removed)(order, pool)


@given(pools, seeds, st.data())
def test_an_image_that_is_filtered_out_reorders_neither_a_class_nor_the_turn_of_classes(
    pool: Pool, seed: int, data: st.DataObject
) -> None:
    removed, rules = data.draw(st.integers(0, len(pool) - 1)), Curation(balance="stratified")
    filtered = pool.take(np.delete(np.arange(len(pool)), removed))
    whole, rest = (training_order(each, seed, rules) for each in (pool, filtered))
    for label in set(filtered.class_ids.tolist()):
        before, after = (
            [each.ids[position] for position in order if each.class_ids[position] == label]
            for each, order in ((pool, whole), (filtered, rest))
        )
        assert after == without(removed)(before, pool)
    turns = [list(dict.fromkeys(each.class_ids[order].tolist())) for each, order in ((pool, whole), (filtered, rest))]
    assert turns[1] == [label for label in turns[0] if label in turns[1]]


def test_several_perturbations_of_one_image_are_ordered_by_id_whatever_the_manifests_order() -> None:
    pool = replace(pool_of([0] * 6), origins=["a", "a", "a", "b", "b", "b"])
    drawn = [drawn_origins(pool, 6, seed, Curation()) for seed in range(20)]
    assert all(order in (["a"] * 3 + ["b"] * 3, ["b"] * 3 + ["a"] * 3) for order in drawn)
    siblings = [position for position in training_order(pool, 0, Curation()) if pool.origins[position] == "a"]
    assert siblings == [0, 1, 2]


def test_an_image_found_for_two_classes_is_two_draws() -> None:
    ids = [sha256(str(number).encode()) for number in range(30)] * 2
    pool = replace(pool_of([0] * 30 + [1] * 30), ids=ids, origins=ids)
    order = training_order(pool, 0, Curation(balance="uniform"))
    neighbours = sum(ids[a] == ids[b] for a, b in pairwise(order))
    assert neighbours < 10  # two positions of one image next to each other would make it thirty


def test_every_image_is_equally_likely_to_be_drawn_and_pairs_are_drawn_independently() -> None:
    pool, draws, size = pool_of([0] * 20), 2000, 5
    drawn = np.zeros((draws, len(pool)), dtype=bool)
    for seed in range(draws):
        drawn[seed, draw_training_set(pool, size, seed, Curation(balance="uniform"))] = True
    assert chisquare(drawn.sum(axis=0)).pvalue > 0.01
    together = (drawn.T.astype(int) @ drawn)[np.triu_indices(len(pool), 1)]
    assert len(together) == 190
    assert chisquare(together).pvalue > 0.01


def test_the_position_of_an_image_is_uniform_over_seeds() -> None:
    pool = pool_of([0] * 50)
    positions = [training_order(pool, seed, Curation(balance="uniform")).tolist().index(17) for seed in range(1000)]
    assert kstest((np.array(positions) + 0.5) / len(pool), "uniform").pvalue > 0.01


def test_more_images_than_the_pool_holds_are_refused() -> None:
    with pytest.raises(Invalid) as refused:
        draw_training_set(pool_of([0, 1]), 3, 0, Curation())
    assert refused.value.code == "pool_exhausted"


def manifest(rows: list[tuple[str, int, bool]]) -> pa.Table:
    return pa.table(
        {
            "id": [row[0] for row in rows],
            "class_id": pa.array([row[1] for row in rows], pa.int32()),
            "score": pa.array([float("nan")] * len(rows), pa.float32()),
            "kept": [row[2] for row in rows],
            "parent": [""] * len(rows),
            "part": pa.array([-1] * len(rows), pa.int32()),
        }
    )


def test_only_kept_rows_are_in_the_pool_and_their_order_in_the_manifest_does_not_matter() -> None:
    rows = [("c", 1, True), ("a", 1, True), ("d", 0, False), ("b", 0, True)]
    pools = [kept_pool(manifest(rows)), kept_pool(manifest(rows[::-1]))]
    assert [pool.ids for pool in pools] == [["b", "a", "c"]] * 2
    assert [pool.class_ids.tolist() for pool in pools] == [[0, 1, 1]] * 2
    assert pools[0].rows.tolist() == [3, 1, 0]


def test_a_perturbed_image_is_drawn_as_its_parent_and_any_other_as_itself() -> None:
    table = manifest([("b", 0, True), ("a", 0, True)])
    table = table.set_column(table.column_names.index("parent"), "parent", pa.array(["z", ""]))
    pool = kept_pool(table)
    assert (pool.ids, pool.origins) == (["a", "b"], ["a", "z"])


def test_empty_pool_has_no_images() -> None:
    assert len(kept_pool(manifest([("a", 0, False)]))) == 0
    assert len(training_order(kept_pool(manifest([("a", 0, False)])), 0, Curation())) == 0


def test_training_set_is_named_by_images_labels_and_order() -> None:
    pool = pool_of([0, 0, 1])
    names = {training_set_digest(pool, np.array(order)) for order in ([0, 1], [1, 0], [0, 2], [0, 1])}
    assert len(names) == 3
