"""The generator's latent codec in a stock class: principal components of 4x4 patches as an AutoencoderTiny.

Nothing is learned by gradient. The encoder of AutoencoderTiny without residual blocks is a chain of convolutions,
so patches (space to depth) and their projection can be written into its weights. The decoder is harder: its
nearest-neighbour upsampling gives all pixels of a patch the same input, and a convolution cannot tell them apart.
Position is recovered from the zero padding: ones shifted inwards from the border add up to a ramp, and after
upsampling the ramp rises only at every second pixel. That difference gates which pixel of the patch passes the ReLU.
"""

from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderTiny
from numpy.typing import NDArray
from torch import Tensor, nn

PATCH = 4
GRID = 8
CHANNELS = 64
PATCH_VALUES = PATCH * PATCH * 3
# Latents reach the decoder through tanh(z / 3) * 3: kept small they pass nearly unchanged.
VAE_SCALE = 0.15
# Pixels are carried with this offset, so that slightly negative reconstructions survive the ReLUs.
OFFSET = 0.5
# Closes a gate for good: larger than any carried value.
SHUT = 4.0


@dataclass(frozen=True)
class PatchComponents:
    """Projection of flattened patches: latent = (patch - mean) @ analysis; patch = latent @ synthesis + mean."""

    mean: NDArray[np.float64]  # (48,)
    analysis: NDArray[np.float64]  # (48, components)
    synthesis: NDArray[np.float64]  # (components, 48)


def space_to_depth(images: Tensor) -> Tensor:
    """(n, 3, 32, 32) to (n, 48, 8, 8) in the order in which the two strided convolutions collect pixels."""
    for _ in range(2):
        images = torch.cat([images[:, :, row::2, column::2] for row in (0, 1) for column in (0, 1)], dim=1)
    return images


def fit_components(images: Tensor, components: int) -> PatchComponents:
    """Principal components of the patches of `images` (n, 3, 32, 32) in [0, 1].

    All are scaled alike, so distances stay those of pixels; the latents' root mean square over all components is 1.
    """
    patches = space_to_depth(images).permute(0, 2, 3, 1).reshape(-1, PATCH_VALUES).double().numpy()
    mean = patches.mean(0)
    variances, directions = np.linalg.eigh(np.cov(patches - mean, rowvar=False))
    order = np.argsort(variances)[::-1][:components]
    directions, scale = directions[:, order], np.sqrt(np.mean(variances[order]))
    return PatchComponents(mean, directions / scale, scale * directions.T)


def build_codec(parts: PatchComponents) -> AutoencoderTiny:
    """An AutoencoderTiny (4x smaller latents) that computes exactly this projection and its inverse."""
    components = parts.analysis.shape[1]
    codec = AutoencoderTiny(
        encoder_block_out_channels=(PATCH_VALUES,) * 3, decoder_block_out_channels=(CHANNELS,) * 3,
        num_encoder_blocks=(0, 0, 0), num_decoder_blocks=(3, 1, 1), latent_channels=components,
        scaling_factor=1 / VAE_SCALE,
    )  # fmt: skip
    with torch.no_grad():
        for parameter in codec.parameters():
            parameter.zero_()
        _write_encoder(codec.encoder.layers, parts)
        _write_decoder(codec.decoder.layers, parts)
    return codec.eval()


def encode(codec: AutoencoderTiny, images: Tensor) -> Tensor:
    """Latents (n, components, 8, 8) of root mean square 1 from pictures (n, 3, 32, 32) in [0, 1]."""
    return codec.encode(images * 2 - 1).latents * codec.config.scaling_factor


def decode(codec: AutoencoderTiny, latents: Tensor) -> Tensor:
    """Pictures in [0, 1] from latents as `encode` gives them."""
    return (codec.decode(latents / codec.config.scaling_factor).sample / 2 + 0.5).clamp(0, 1)


def _write_encoder(layers: nn.Sequential, parts: PatchComponents) -> None:
    first, to_half, to_quarter, project = layers
    for channel in range(3):
        first.weight[channel, channel, 1, 1] = 1
    for convolution, channels in ((to_half, 3), (to_quarter, 12)):
        for number, (row, column) in enumerate(_POSITIONS):
            for channel in range(channels):
                # A stride-2 kernel with padding 1 reads rows 2i-1, 2i, 2i+1: the patch is the last two.
                convolution.weight[number * channels + channel, channel, 1 + row, 1 + column] = 1
    project.weight[:, :, 1, 1] = torch.from_numpy(parts.analysis.T * VAE_SCALE)
    project.bias.copy_(torch.from_numpy(-parts.mean @ parts.analysis * VAE_SCALE))


_POSITIONS = ((0, 0), (0, 1), (1, 0), (1, 1))
# Decoder channels behind the 48 patch values: ramps, their rises, and the ones on their way from each border.
_RAMP_Y, _RAMP_X, _RISE_Y, _RISE_X, _TOP, _LEFT = 48, 49, 50, 51, 52, 53
# In the gate blocks the channels from here on carry the values that the skip path will add.
_CARRIED = 52


def _write_decoder(layers: nn.Sequential, parts: PatchComponents) -> None:
    """Layers: conv, ReLU, three blocks, upsample, conv, block, upsample, conv, block, conv."""
    start, _, *ramp_blocks, _, to_half, half_block, _, to_full, full_block, finish = layers
    start.weight[:PATCH_VALUES, :, 1, 1] = torch.from_numpy(parts.synthesis.T / VAE_SCALE)
    start.bias[:PATCH_VALUES] = torch.from_numpy(parts.mean + OFFSET)
    for channel in (_RAMP_Y, _RAMP_X, _TOP, _LEFT):
        start.bias[channel] = 1
    for block in ramp_blocks:
        _write_ramp_block(block.conv)
    _write_upsampled(to_half, PATCH_VALUES)
    _write_gate_block(half_block.conv, 12)
    _write_upsampled(to_full, 12)
    _write_gate_block(full_block.conv, 3)
    for channel in range(3):
        finish.weight[channel, channel, 1, 1] = 1
    finish.bias.fill_(-OFFSET)


def _write_ramp_block(convolutions: nn.Sequential) -> None:
    """Three more shifts of the ones; the ramps gain each of them. The skip path adds the block's input."""
    first, _, second, _, third = convolutions
    for ramp, ones, tap in ((_RAMP_Y, _TOP, (0, 1)), (_RAMP_X, _LEFT, (1, 0))):
        carried = ones + 2  # the ones as they entered: the skip path adds them, so the end takes them away
        first.weight[carried, ones, 1, 1] = 1
        second.weight[carried, carried, 1, 1] = 1
        third.weight[ones, carried, 1, 1] = -1
        for convolution in (first, second, third):
            convolution.weight[ones, ones, *tap] = 1
            convolution.weight[ramp, ones, *tap] = 1
        for convolution in (second, third):
            convolution.weight[ramp, ramp, 1, 1] = 1


def _write_upsampled(convolution: nn.Conv2d, values: int) -> None:
    """Pass values and ramps; a ramp, every step doubled, rises by 1 on even pixels and by 0 on odd ones."""
    for channel in (*range(values), _RAMP_Y, _RAMP_X):
        convolution.weight[channel, channel, 1, 1] = 1
    for ramp, rise, before in ((_RAMP_Y, _RISE_Y, (0, 1)), (_RAMP_X, _RISE_X, (1, 0))):
        convolution.weight[rise, ramp, 1, 1] = 1
        convolution.weight[rise, ramp, *before] = -1


def _write_gate_block(convolutions: nn.Sequential, outputs: int) -> None:
    """Of the four pixels carried at each position let the one pass that belongs there; renew the ramps."""
    first, _, second, _, third = convolutions
    for number, position in enumerate(_POSITIONS):
        for channel in range(outputs):
            value = number * outputs + channel
            first.weight[value, value, 1, 1] = 1
            for odd, rise in zip(position, (_RISE_Y, _RISE_X), strict=True):
                first.weight[value, rise, 1, 1] = -SHUT if odd else SHUT
                first.bias[value] -= 0.0 if odd else SHUT
            second.weight[channel, value, 1, 1] = 1
    for channel in range(outputs):  # the skip path adds the first pixel's value here: replace it
        carried = _CARRIED + channel
        first.weight[carried, channel, 1, 1] = 1
        second.weight[carried, carried, 1, 1] = 1
        third.weight[channel, channel, 1, 1] = 1
        third.weight[channel, carried, 1, 1] = -1
    for ramp, rise in ((_RAMP_Y, _RISE_Y), (_RAMP_X, _RISE_X)):  # twice as long: 2 x ramp - rise = 1, 2, 3, ...
        for channel in (ramp, rise):
            first.weight[channel, channel, 1, 1] = 1
            second.weight[channel, channel, 1, 1] = 1
        third.weight[ramp, ramp, 1, 1] = 1
        third.weight[ramp, rise, 1, 1] = -1
