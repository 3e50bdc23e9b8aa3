"""Mixtures: how many images of each part, which ones, and what happens when a part runs out."""

from dataclasses import asdict, replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from touchstone_contracts.arms.mixture import Count, Mixing, Mixture, Part, Share, apportioned
from touchstone_contracts.curation import Curation
from touchstone_contracts.identity import sha256
from touchstone_contracts.problems import Invalid
from touchstone_retrieval.curation.mixing import mixed_table
from touchstone_runtime.image_sets import SCHEMA, ImageRecord
from touchstone_runtime.training_sets import Pool, draw_training_set, kept_pool, largest_size

weights = st.lists(st.integers(1, 20), min_size=2, max_size=5)
CLASSES = 4


def fixed(*shares: float) -> Mixing:
    return Mixing(mode="fixed_total", amounts=tuple(Share(share=share) for share in shares))


def pool_table(name: str, images: int, repeats: tuple[str, ...] = ()) -> pa.Table:
    """A curated pool of `images` kept images, class = number mod CLASSES, one dropped; `repeats` are more ids."""
    kept = ImageRecord(width=1, height=1, source_kind="upstream", source_key="", caption=name)
    records = [replace(kept, class_id=number % CLASSES, score=0.1 * (number % 3)) for number in range(images)]
    records += [
        replace(kept, class_id=0, kept=False, drop_reason="filtered"),
        *[replace(kept, class_id=0)] * len(repeats),
    ]
    ids = [*(sha256(f"{name}{number}".encode()) for number in range(images + 1)), *repeats]
    stored = {"shard": "", "offset": 0, "length": 1}
    rows = [asdict(record) | {"id": image} | stored for image, record in zip(ids, records, strict=True)]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def mixed_pool(*sizes: int) -> Pool:
    return kept_pool(mixed_table([pool_table(f"part{number}", size) for number, size in enumerate(sizes)]))


@given(weights, st.integers(0, 400))
def test_apportioned_numbers_sum_up_stay_close_and_never_shrink(parts: list[int], total: int) -> None:
    shares = [part / sum(parts) for part in parts]
    now, following = apportioned(total, shares), apportioned(total + 1, shares)
    assert sum(now) == total
    assert all(abs(number - share * total) <= (len(parts) + 1) / 2 for number, share in zip(now, shares, strict=True))
    assert all(later >= number for number, later in zip(now, following, strict=True))


@pytest.mark.parametrize(
    ("mixing", "size", "quotas"),
    [
        (fixed(0.3, 0.7), 10, (3, 7)),
        (fixed(0.5, 0.5), 5, (3, 2)),
        (Mixing(mode="fixed_total", amounts=(Count(images=4), Share(share=1.0))), 10, (4, 6)),
        (Mixing(mode="additive", amounts=(Share(share=1.0), Share(share=0.25))), 10, (10, 3)),
        (Mixing(mode="additive", amounts=(Count(images=251), Share(share=1.0))), 100, (251, 100)),
    ],
)
def test_quotas_are_what_the_mode_says(mixing: Mixing, size: int, quotas: tuple[int, ...]) -> None:
    assert mixing.quotas(size) == quotas


def test_shares_of_a_fixed_total_must_sum_to_one() -> None:
    with pytest.raises(ValidationError, match=r"sum to 0\.8"):
        Mixture(name="m", parts=(Part(arm="a", amount=Share(share=0.3)), Part(arm="b", amount=Share(share=0.5))))
    with pytest.raises(ValidationError, match="sum to 0"):
        Mixture(name="m", parts=(Part(arm="a", amount=Count(images=3)), Part(arm="b", amount=Count(images=5))))


@pytest.mark.parametrize("names", [("a", "a"), ("a", "m")])
def test_a_mixture_does_not_repeat_an_arm_or_hold_itself(names: tuple[str, str]) -> None:
    parts = tuple(Part(arm=name, amount=Share(share=0.5)) for name in names)
    with pytest.raises(ValidationError, match="different arms"):
        Mixture(name="m", parts=parts)


def test_mixing_keeps_every_label_and_every_fate() -> None:
    pools = [pool_table("real", 6), pool_table("synthetic", 9)]
    mixed = mixed_table(pools)
    assert mixed.num_rows == 7 + 10
    assert mixed["part"].to_pylist() == [0] * 7 + [1] * 10
    for column in ("id", "class_id", "kept", "drop_reason", "caption"):
        assert mixed[column].to_pylist() == [value for pool in pools for value in pool[column].to_pylist()]


def test_an_image_in_two_parts_counts_for_the_first() -> None:
    shared = sha256(b"part00")
    mixed = mixed_table([pool_table("part0", 3), pool_table("other", 3, repeats=(shared,))])
    rows = [row for row in mixed.to_pylist() if row["id"] == shared]
    assert [(row["part"], row["kept"], row["drop_reason"]) for row in rows] == [
        (0, True, ""),
        (1, False, "near_duplicate"),
    ]


def test_dropped_images_are_never_drawn() -> None:
    # Mixing in the paper's code ignores the filter's lists (paper section 7, D4).
    pool = mixed_pool(6, 9)
    assert len(pool) == 15
    drawn = draw_training_set(pool, 12, 0, Curation(), fixed(0.5, 0.5))
    assert len(set(drawn.tolist())) == 12


@given(weights, st.integers(0, 2**31), st.data())
def test_smaller_mixtures_are_subsets_of_larger_ones_in_the_asked_proportion(
    parts: list[int], seed: int, data: st.DataObject
) -> None:
    mixing, pool = fixed(*(part / sum(parts) for part in parts)), mixed_pool(*[25] * len(parts))
    large = data.draw(st.integers(1, largest_size(pool, mixing)))
    small = data.draw(st.integers(1, large))
    larger, smaller = (draw_training_set(pool, size, seed, Curation(), mixing) for size in (large, small))
    assert len(larger) == large
    assert set(smaller.tolist()) <= set(larger.tolist())
    assert tuple(np.bincount(pool.parts[larger], minlength=len(parts))) == mixing.quotas(large)


def test_a_part_gives_the_images_its_arm_alone_is_trained_on() -> None:
    alone = kept_pool(pool_table("part1", 20))
    pool = mixed_pool(20, 20)
    drawn = draw_training_set(pool, 16, 3, Curation(), fixed(0.5, 0.5))
    of_part = {pool.ids[position] for position in drawn if pool.parts[position] == 1}
    assert of_part == {alone.ids[position] for position in draw_training_set(alone, 8, 3, Curation())}


def test_an_exhausted_part_ends_the_mixture_and_is_not_refilled() -> None:
    pool = mixed_pool(30, 4)
    assert largest_size(pool, fixed(0.5, 0.5)) == 9  # five and four: the odd image is the first part's
    with pytest.raises(Invalid, match="enough for size 9"):
        draw_training_set(pool, 10, 0, Curation(), fixed(0.5, 0.5))
    additive = Mixing(mode="additive", amounts=(Share(share=1.0), Count(images=5)))
    assert largest_size(pool, additive) == 0
