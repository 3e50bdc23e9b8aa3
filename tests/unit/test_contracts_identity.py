"""Identities: equal values have one, different ones another, on every machine and every day."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from touchstone_contracts.catalogue import ClassLabel, ParquetFile
from touchstone_contracts.identity import IdentityTexts, canonical_json, derive_seed, identity, identity_text
from touchstone_contracts.recipes.cross_entropy import CrossEntropy
from touchstone_contracts.steps import INGEST_IMAGES, IngestImages
from touchstone_runtime.randomness import rng_for

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), JSON, max_size=6))
def test_the_order_of_keys_does_not_matter(value: dict[str, object]) -> None:
    backwards = dict(reversed(value.items()))
    assert identity(value) == identity(backwards)


def test_canonical_json_is_what_it_was() -> None:
    assert canonical_json({"b": [1, 2.5, None], "a": "ü"}) == '{"a":"ü","b":[1,2.5,null]}'.encode()
    # sha256 of the line above, computed once with coreutils' sha256sum.
    assert identity({"b": [1, 2.5, None], "a": "ü"}) == (
        "91ff63a7ddb19a1b9c7a2e722d40ba9baba03223f291c89743abfd71bb743cb5"
    )


def test_a_value_that_is_not_json_has_no_identity() -> None:
    with pytest.raises(ValueError, match="JSON"):
        identity({"x": math.nan})
    with pytest.raises(TypeError):
        identity({"x": object()})


def test_a_part_that_many_hold_is_written_once_and_alike() -> None:
    shared = tuple(ClassLabel(id=number, display_name=f"thing {number}") for number in range(3))
    texts = IdentityTexts()
    first, second = (texts.of({"classes": shared, "number": number}) for number in (1, 2))
    assert texts.of(shared) is texts.of(shared)
    assert [first, second] == [identity_text({"number": number, "classes": list(shared)}) for number in (1, 2)]
    assert texts.of(True) == "true" != texts.of(1)


def test_where_bytes_lie_is_not_part_of_what_they_are() -> None:
    here, there = (
        ParquetFile(location=f"library:{folder}/file.parquet", digest="0" * 64, images=1)
        for folder in ("here", "there")
    )
    assert INGEST_IMAGES.step_id(IngestImages(source=here)) == INGEST_IMAGES.step_id(IngestImages(source=there))
    other = here.model_copy(update={"digest": "1" * 64})
    assert INGEST_IMAGES.step_id(IngestImages(source=here)) != INGEST_IMAGES.step_id(IngestImages(source=other))


def test_a_field_added_later_counts_only_once_it_is_set() -> None:
    plain = CrossEntropy()
    assert {"interpolation", "micro_batch_size"} & set(json.loads(identity_text(plain))) == set()
    assert identity(CrossEntropy(interpolation=1.0)) == identity(plain)
    assert identity(CrossEntropy(interpolation=0.5)) != identity(plain)
    assert identity(CrossEntropy(micro_batch_size=64)) != identity(plain)


def test_seeds_follow_their_purpose_and_fit_63_bits() -> None:
    seeds = {derive_seed(0, purpose, number) for purpose in ("subset", "noise") for number in range(500)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed(0, "subset") == derive_seed("0", "subset")
    assert derive_seed(1, 23) != derive_seed(12, 3)


def test_a_stream_repeats_for_its_purpose_alone() -> None:
    first, again, other = (rng_for(7, name).random(4).tolist() for name in ("a", "a", "b"))
    assert first == again
    assert first != other
