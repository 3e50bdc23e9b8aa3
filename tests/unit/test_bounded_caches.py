"""What workers keep between steps is bounded in bytes: what was used longest ago goes, what is in use stays."""

from pathlib import Path

import torch
from support.tiny_models import tiny_encoder
from support.tiny_pipeline import tiny_generator
from touchstone_contracts.steps import ModelRef
from touchstone_encoders.loading import EncoderCache, module_bytes
from touchstone_generator.pipelines import GeneratorCache, pipeline_bytes
from touchstone_runtime.caches import ByteCache
from touchstone_runtime.library import Library

CPU = torch.device("cpu")


def test_a_cache_forgets_what_was_used_longest_ago() -> None:
    cache = ByteCache[str, bytes](10, len)
    cache.put("a", b"1234")
    cache.put("b", b"1234")
    assert cache.get("a") is not None
    cache.put("c", b"1234")
    assert [cache.get(key) is not None for key in "abc"] == [True, False, True]
    assert (len(cache), cache.use.hits, cache.use.misses) == (2, 3, 1)


def test_a_value_that_comes_again_counts_once() -> None:
    cache = ByteCache[str, bytes](10, len)
    cache.put("a", b"1234")
    for _ in range(5):
        cache.put("b", b"123456")
    assert [cache.get(key) is not None for key in "ab"] == [True, True]


def test_what_came_last_stays_even_alone_above_the_budget() -> None:
    cache = ByteCache[str, bytes](10, len)
    cache.put("a", b"1234")
    cache.put("b", bytes(11))
    assert [cache.get(key) is not None for key in "ab"] == [False, True]


def test_encoders_share_a_number_of_bytes(tmp_path: Path) -> None:
    refs = [ModelRef.of(tiny_encoder(tmp_path, f"clip-{seed}", seed=seed)) for seed in range(3)]
    size = module_bytes(EncoderCache(Library(tmp_path), CPU).tower(refs[0]).whole)
    assert size > 1_000_000  # text tower and image tower
    cache = EncoderCache(Library(tmp_path), CPU, 2 * size)
    loaded = [cache.tower(ref) for ref in refs]
    assert cache.tower(refs[2]) is loaded[2]
    assert cache.tower(refs[1]) is loaded[1]
    assert cache.tower(refs[0]) is not loaded[0]


def test_generators_share_a_number_of_bytes_and_one_tuned_copy_is_held(tmp_path: Path) -> None:
    first, second = (ModelRef.of(tiny_generator(tmp_path, f"diffusion-{seed}", seed=seed)) for seed in range(2))
    cache = GeneratorCache(Library(tmp_path), CPU, 1)
    plain = cache.get(first)
    assert pipeline_bytes(plain) > 100_000
    assert cache.get(first) is plain  # in use, whatever its size
    cache.get(second)
    assert cache.get(first) is not plain
