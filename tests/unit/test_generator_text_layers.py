"""What depends on the text alone is computed at a batch's first step, and no image changes by it."""

from collections.abc import Iterator

import pytest
import torch
from diffusers import UNet2DConditionModel
from touchstone_generator.sampling.text_layers import text_computed_once, text_layers

STEPS = (900, 500, 100)
TOKENS, WIDTH = 5, 16


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(params=["text", None])
def unet(request: pytest.FixtureRequest) -> UNet2DConditionModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(16, 16),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=WIDTH,
            attention_head_dim=2,
            norm_num_groups=8,
            addition_embed_type=request.param,
            addition_embed_type_num_heads=2,
        ).eval()


def drawn(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def denoised(unet: UNet2DConditionModel, text: torch.Tensor) -> torch.Tensor:
    """Some steps over one tensor of text, each from other latents."""
    steps = [unet(drawn((2, 4, 8, 8), step), step, text).sample for step in STEPS]
    return torch.stack(steps)


def forget(unet: UNet2DConditionModel) -> int:
    """Text layers that are asked after this answer zeros."""
    layers = list(text_layers(unet))
    for layer in layers:
        for weights in layer.parameters():
            weights.zero_()
    return len(layers)


def test_every_step_is_bit_by_bit_what_it_is_without(unet: UNet2DConditionModel) -> None:
    texts = [drawn((2, TOKENS, WIDTH), seed) for seed in (1, 2)]
    plain = [denoised(unet, text) for text in texts]
    with text_computed_once(unet):
        assert all(torch.equal(denoised(unet, text), before) for text, before in zip(texts, plain, strict=True))
    assert not torch.equal(*plain)


def test_text_layers_are_asked_at_the_first_step_only(unet: UNet2DConditionModel) -> None:
    text = drawn((2, TOKENS, WIDTH), 1)
    plain = denoised(unet, text)
    with text_computed_once(unet):
        denoised(unet, text)
        # One cross-attention on the way down, one in the middle, two on the way up; keys and values each.
        assert forget(unet) == 2 * 4 + (unet.config.addition_embed_type == "text")
        assert torch.equal(denoised(unet, text), plain)
        assert not torch.equal(denoised(unet, text.clone()), plain)  # another tensor is asked about again


def test_nothing_is_remembered_afterwards_even_after_a_failure(unet: UNet2DConditionModel) -> None:
    text = drawn((2, TOKENS, WIDTH), 1)
    plain = denoised(unet, text)
    with pytest.raises(RuntimeError), text_computed_once(unet):
        denoised(unet, text[:, :, 1:])  # narrower than the layers
    forget(unet)
    assert not torch.equal(denoised(unet, text), plain)
    assert all("forward" not in vars(layer) for layer in text_layers(unet))
