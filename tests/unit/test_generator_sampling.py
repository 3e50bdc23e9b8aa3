"""Seeds, slots and schedulers: what decides an image beside the weights."""

from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, PNDMScheduler
from hypothesis import given
from hypothesis import strategies as st
from touchstone_contracts.identity import derive_seed
from touchstone_contracts.problems import Invalid
from touchstone_generator.sampling.batches import batches
from touchstone_generator.sampling.schedulers import SCHEDULERS, build_scheduler
from touchstone_generator.sampling.seeds import image_seed, noise_source


def test_an_images_seed_follows_from_experiment_prompt_and_index() -> None:
    assert image_seed(7, "abc", 0) == derive_seed(7, "abc", 0)
    assert len({image_seed(seed, prompt, index) for seed in (0, 1) for prompt in "ab" for index in (0, 1)}) == 8


def test_noise_repeats_and_leaves_global_randomness_alone() -> None:
    before = torch.get_rng_state()

    def noise(seed: int) -> torch.Tensor:
        return torch.randn((4, 8, 8), generator=noise_source(seed))

    assert torch.equal(noise(2**62 + 1), noise(2**62 + 1))
    assert not torch.equal(noise(2**62 + 1), noise(5))
    assert torch.equal(before, torch.get_rng_state())


@given(first=st.integers(0, 100), count=st.integers(1, 100), size=st.integers(1, 40))
def test_batches_hold_every_row_once_in_its_own_slot(first: int, count: int, size: int) -> None:
    cut = list(batches(first, first + count, size))

    assert [row for rows in cut for row in rows] == list(range(first, first + count))
    assert all(rows.start // size == (rows.stop - 1) // size for rows in cut)  # one batch never crosses a boundary


def test_aligned_chunks_waste_no_slot() -> None:
    assert list(batches(128, 256, 16)) == [range(start, start + 16) for start in range(128, 256, 16)]


def test_a_scheduler_without_zero_terminal_snr_is_refused_where_the_generator_needs_it() -> None:
    with pytest.raises(Invalid, match="ddim") as refused:
        build_scheduler("pndm", DDIMScheduler(rescale_betas_zero_snr=True).config)
    assert refused.value.code == "scheduler_unsuitable"
    assert build_scheduler("pndm", DDIMScheduler().config).config.skip_prk_steps


@pytest.mark.parametrize("name", sorted(set(SCHEDULERS) - {"pndm"}))
def test_every_scheduler_keeps_what_the_pipeline_says_about_its_noise(name: str) -> None:
    own = DDIMScheduler(
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        rescale_betas_zero_snr=True,
        beta_schedule="scaled_linear",
        clip_sample=False,
    )
    scheduler = build_scheduler(name, own.config)
    scheduler.set_timesteps(10)

    assert scheduler.config.prediction_type == "v_prediction"
    assert scheduler.config.timestep_spacing == "trailing"
    assert scheduler.config.rescale_betas_zero_snr
    assert scheduler.config.beta_schedule == "scaled_linear"
    assert int(scheduler.timesteps[0]) == 999  # trailing starts where there is nothing but noise
    assert float(scheduler.alphas_cumprod[-1]) < 1e-6


def test_switching_schedulers_back_gives_the_first_again() -> None:
    own = DDIMScheduler(prediction_type="v_prediction", clip_sample=False, steps_offset=1)
    there = build_scheduler("euler", own.config)
    back = build_scheduler("ddim", there.config)

    assert {key: back.config[key] for key in _settings(own)} == _settings(own)


def test_ddim_does_not_clip_latents_of_a_pipeline_that_came_with_another_scheduler() -> None:
    assert build_scheduler("ddim", PNDMScheduler(skip_prk_steps=True).config).config.clip_sample is False


def test_an_unknown_scheduler_is_refused_by_name() -> None:
    with pytest.raises(Invalid, match="'heun'") as refused:
        build_scheduler("heun", {})
    assert refused.value.code == "unknown_scheduler"


def _settings(scheduler: Any) -> dict[str, Any]:
    return {key: value for key, value in scheduler.config.items() if not key.startswith("_")}
