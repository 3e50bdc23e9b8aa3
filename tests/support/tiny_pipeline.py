"""A tiny, randomly initialised Stable Diffusion pipeline on disk: loads through the same path as a real one."""

import string
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from touchstone_contracts.catalogue import Generator
from touchstone_runtime.digests import folder_digest
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

IMAGE_SIZE = 32
WIDTH = 32
CONTEXT_LENGTH = 24
CHARACTERS = string.ascii_lowercase + string.digits + ",.:-'"


def tiny_generator(
    library: Path, name: str = "tiny-diffusion", *, trained_on: str | None = None, seed: int = 0
) -> Generator:
    """Writes `library`/models/`name` (under 1 MB, about a second) and returns its catalogue entry.

    The same seed always gives the same digest. Its pictures are noise, but they depend on prompt, seed and steps."""
    folder = library / "models" / name
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tiny_pipeline().save_pretrained(folder, safe_serialization=True)
    return Generator(
        name=name,
        model=f"library:models/{name}",
        digest=folder_digest(folder),
        trained_on=trained_on,
        image_size=IMAGE_SIZE,
    )


def tiny_pipeline() -> StableDiffusionPipeline:
    """Weights from torch's global random state."""
    tokenizer = tiny_tokenizer()
    return StableDiffusionPipeline(
        vae=_latent_codec(),
        text_encoder=CLIPTextModel(_text_config(tokenizer)).eval(),
        tokenizer=tokenizer,
        unet=UNet2DConditionModel(
            sample_size=IMAGE_SIZE // 4,
            in_channels=4,
            out_channels=4,
            block_out_channels=(WIDTH, WIDTH),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=WIDTH,
            attention_head_dim=8,
            norm_num_groups=8,
        ),
        scheduler=DDIMScheduler(
            beta_schedule="scaled_linear",
            beta_start=0.00085,
            beta_end=0.012,
            steps_offset=1,
            clip_sample=False,
            set_alpha_to_one=False,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def tiny_tokenizer() -> CLIPTokenizer:
    """A CLIPTokenizer without merges: every character is a token."""
    tokens = ["<|startoftext|>", "<|endoftext|>", *CHARACTERS, *(f"{character}</w>" for character in CHARACTERS)]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=CONTEXT_LENGTH)


def _latent_codec() -> AutoencoderTiny:
    codec = AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8),
        decoder_block_out_channels=(8, 8, 8),
        num_encoder_blocks=(1, 1, 1),
        num_decoder_blocks=(1, 1, 1),
        latent_channels=4,
    )
    last = codec.decoder.layers[-1]
    # Untrained, the decoder would answer near-black; contrast around mid-grey lets tests see differences.
    torch.nn.init.constant_(last.bias, 0.5)
    torch.nn.init.normal_(last.weight, std=0.5)
    return codec


def _text_config(tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=CONTEXT_LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
