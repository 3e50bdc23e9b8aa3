"""A tiny, randomly initialised pipeline of every family of generators, on disk: nothing is downloaded."""

import json
import string
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    DDIMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from support.tiny_pipeline import CHARACTERS, tiny_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from touchstone_contracts.catalogue import Generator
from touchstone_contracts.families import GeneratorFamily
from touchstone_runtime.digests import folder_digest
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Gemma2Config,
    Gemma2Model,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

WIDTH = 32
LABELS = {number: f"thing {number}" for number in range(1000)} | {
    0: "tench, Tinca tinca",
    1: "goldfish",
    134: "crane",
    517: "crane",
}


def family_generator(library: Path, family: GeneratorFamily) -> Generator:
    """Writes `library`/models/`family` and returns its catalogue entry. Pictures are noise that depends on prompt, seed
    and steps."""
    tiny, folder = TINY[family], library / "models" / family
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pipeline = tiny.build()
        _give_contrast(pipeline)
        pipeline.save_pretrained(folder, safe_serialization=True)
    if family == "dit":
        index = folder / "model_index.json"
        index.write_text(json.dumps(json.loads(index.read_text()) | {"id2label": LABELS}, indent=2, sort_keys=True))
    return Generator(
        name=family,
        model=f"library:models/{family}",
        digest=folder_digest(folder),
        family=family,
        image_size=tiny.image_size,
    )


def _give_contrast(pipeline: Any) -> None:
    """Untrained transformers start with gates and outputs of 0, so that neither prompt nor step would show."""
    network = pipeline.components.get("transformer")
    if network is not None:
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    for encoder in (pipeline.components.get(name) for name in ("text_encoder", "text_encoder_2", "text_encoder_3")):
        if encoder is not None:
            for name, parameter in encoder.named_parameters():
                if "embed" in name or "shared" in name:
                    torch.nn.init.normal_(parameter, std=1.0)


def _clip_text(kind: type[Any] = CLIPTextModel) -> tuple[Any, CLIPTokenizer]:
    tokenizer = tiny_tokenizer()
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return kind(config).eval(), tokenizer


def _letters(begin: str | None, end: str | None) -> PreTrainedTokenizerFast:
    """A token for each character, as T5 (with an end) and Gemma (with a beginning) frame theirs."""
    special = ["<pad>", "<unk>", "<bos>", "</s>"]
    vocabulary = {token: number for number, token in enumerate([*special, " ", *CHARACTERS, *string.ascii_uppercase])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    frame = " ".join(filter(None, [begin, "$A", end]))
    marks = [(mark, vocabulary[mark]) for mark in (begin, end) if mark]
    tokenizer.post_processor = processors.TemplateProcessing(single=frame, special_tokens=marks)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", bos_token="<bos>", eos_token="</s>"
    )


def _t5_text(width: int = WIDTH) -> tuple[T5EncoderModel, PreTrainedTokenizerFast]:
    tokenizer = _letters(None, "</s>")
    config = T5Config(
        vocab_size=len(tokenizer), d_model=width, d_kv=8, d_ff=WIDTH, num_layers=1, num_heads=4, pad_token_id=0
    )
    return T5EncoderModel(config).eval(), tokenizer


def _codec(channels: int = 4, levels: int = 2, **settings: Any) -> AutoencoderKL:
    """A latent is 2 ** (levels - 1) pixels a side."""
    return AutoencoderKL(
        block_out_channels=(8,) * levels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        latent_channels=channels,
        norm_num_groups=4,
        layers_per_block=1,
        **settings,
    )


def _unet(**settings: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=(WIDTH, WIDTH),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=8,
        norm_num_groups=8,
        **settings,
    )


NOISE = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


def _stable_diffusion() -> Any:
    return _one_clip(StableDiffusionPipeline, DDIMScheduler(clip_sample=False, steps_offset=1, **NOISE))


def _stable_diffusion_turbo() -> Any:
    scheduler = EulerDiscreteScheduler(timestep_spacing="trailing", steps_offset=1, **NOISE)
    return _one_clip(StableDiffusionPipeline, scheduler)


def _latent_consistency() -> Any:
    scheduler = LCMScheduler(original_inference_steps=50, **NOISE)
    return _one_clip(LatentConsistencyModelPipeline, scheduler, time_cond_proj_dim=WIDTH)


def _one_clip(kind: type[Any], scheduler: Any, **unet: Any) -> Any:
    encoder, tokenizer = _clip_text()
    return kind(
        vae=_codec(),
        text_encoder=encoder,
        tokenizer=tokenizer,
        unet=_unet(cross_attention_dim=WIDTH, **unet),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _stable_diffusion_xl(scheduler: Any | None = None) -> Any:
    encoder, tokenizer = _clip_text()
    second, second_tokenizer = _clip_text(CLIPTextModelWithProjection)
    return StableDiffusionXLPipeline(
        vae=_codec(),
        text_encoder=encoder,
        tokenizer=tokenizer,
        text_encoder_2=second,
        tokenizer_2=second_tokenizer,
        unet=_unet(
            cross_attention_dim=2 * WIDTH,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + WIDTH,
            transformer_layers_per_block=(1, 1),
        ),
        scheduler=scheduler or EulerDiscreteScheduler(**NOISE),
    )


def _stable_diffusion_xl_turbo() -> Any:
    return _stable_diffusion_xl(EulerAncestralDiscreteScheduler(timestep_spacing="trailing", **NOISE))


def _stable_diffusion_3() -> Any:
    encoder, tokenizer = _clip_text(CLIPTextModelWithProjection)
    second, second_tokenizer = _clip_text(CLIPTextModelWithProjection)
    third, third_tokenizer = _t5_text(2 * WIDTH)
    return StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=16,
            patch_size=2,
            in_channels=4,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=4,
            joint_attention_dim=2 * WIDTH,
            caption_projection_dim=WIDTH,
            pooled_projection_dim=2 * WIDTH,
            out_channels=4,
            pos_embed_max_size=32,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=_codec(use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06, scaling_factor=1.5),
        text_encoder=encoder,
        tokenizer=tokenizer,
        text_encoder_2=second,
        tokenizer_2=second_tokenizer,
        text_encoder_3=third,
        tokenizer_3=third_tokenizer,
    )


def _flux(*, guidance_embeds: bool = True) -> Any:
    encoder, tokenizer = _clip_text()
    second, second_tokenizer = _t5_text()
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=_codec(use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06, scaling_factor=1.5),
        text_encoder=encoder,
        tokenizer=tokenizer,
        text_encoder_2=second,
        tokenizer_2=second_tokenizer,
        transformer=FluxTransformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            pooled_projection_dim=WIDTH,
            axes_dims_rope=(4, 4, 8),
            guidance_embeds=guidance_embeds,
        ),
    )


def _flux_schnell() -> Any:
    return _flux(guidance_embeds=False)


def _pixart(kind: type[Any]) -> Any:
    encoder, tokenizer = _t5_text()
    return kind(
        tokenizer=tokenizer,
        text_encoder=encoder,
        vae=_codec(),
        transformer=PixArtTransformer2DModel(
            sample_size=16,
            num_layers=1,
            patch_size=2,
            attention_head_dim=8,
            num_attention_heads=4,
            caption_channels=WIDTH,
            cross_attention_dim=WIDTH,
            in_channels=4,
            out_channels=8,
            use_additional_conditions=False,
        ),
        scheduler=DPMSolverMultistepScheduler(),
    )


def _pixart_alpha() -> Any:
    return _pixart(PixArtAlphaPipeline)


def _pixart_sigma() -> Any:
    return _pixart(PixArtSigmaPipeline)


def _sana() -> Any:
    tokenizer = _letters("<bos>", None)
    encoder = Gemma2Model(
        Gemma2Config(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=WIDTH,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            pad_token_id=0,
            bos_token_id=2,
        )
    ).eval()
    return SanaPipeline(
        tokenizer=tokenizer,
        text_encoder=encoder,
        vae=AutoencoderDC(
            latent_channels=4,
            attention_head_dim=2,
            encoder_block_types=("ResBlock", "EfficientViTBlock"),
            decoder_block_types=("ResBlock", "EfficientViTBlock"),
            encoder_block_out_channels=(8, 8),
            decoder_block_out_channels=(8, 8),
            encoder_qkv_multiscales=((), (5,)),
            decoder_qkv_multiscales=((), (5,)),
            encoder_layers_per_block=(1, 1),
            decoder_layers_per_block=(1, 1),
            downsample_block_type="conv",
            upsample_block_type="interpolate",
            decoder_norm_types="rms_norm",
            decoder_act_fns="silu",
        ),
        transformer=SanaTransformer2DModel(
            patch_size=1,
            in_channels=4,
            out_channels=4,
            num_layers=1,
            num_attention_heads=2,
            attention_head_dim=8,
            num_cross_attention_heads=2,
            cross_attention_head_dim=8,
            cross_attention_dim=16,
            caption_channels=WIDTH,
            sample_size=16,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


def _dit() -> Any:
    return DiTPipeline(
        transformer=DiTTransformer2DModel(
            sample_size=16,
            num_layers=1,
            patch_size=2,
            attention_head_dim=8,
            num_attention_heads=4,
            in_channels=4,
            out_channels=8,
            num_embeds_ada_norm=1000,
        ),
        vae=_codec(),
        scheduler=DDIMScheduler(clip_sample=False),
    )


@dataclass(frozen=True)
class Tiny:
    build: Callable[[], Any]
    image_size: int = 32


TINY: dict[GeneratorFamily, Tiny] = {
    "stable_diffusion": Tiny(_stable_diffusion),
    "stable_diffusion_turbo": Tiny(_stable_diffusion_turbo),
    "stable_diffusion_xl": Tiny(_stable_diffusion_xl),
    "stable_diffusion_xl_turbo": Tiny(_stable_diffusion_xl_turbo),
    "latent_consistency": Tiny(_latent_consistency),
    "stable_diffusion_3": Tiny(_stable_diffusion_3),
    "flux": Tiny(_flux),
    "flux_schnell": Tiny(_flux_schnell),
    "pixart_alpha": Tiny(_pixart_alpha),
    "pixart_sigma": Tiny(_pixart_sigma),
    "sana": Tiny(_sana),
    "dit": Tiny(_dit),
}
