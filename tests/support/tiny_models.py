"""A tiny, randomly initialised CLIP model on disk: loads through the same path as a real one, in a moment."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import open_clip
import timm
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from touchstone_contracts.catalogue import Encoder
from touchstone_runtime.digests import folder_digest
from transformers import PreTrainedTokenizerFast

IMAGE_SIZE = 32
DIMENSION = 16

MODEL_CONFIG: dict[str, Any] = {
    "embed_dim": DIMENSION,
    "vision_cfg": {
        "timm_model_name": "test_resnet",
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": "linear",
        "image_size": IMAGE_SIZE,
    },
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
PREPROCESSING = {
    "size": IMAGE_SIZE,
    "mode": "RGB",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}


WORDS = ("a", "photo", "of", "square", "red", "green", "blue", "bar", "circle", "triangle")
TEXT_CONFIG = MODEL_CONFIG["text_cfg"]
ARCHITECTURES: dict[str, dict[str, Any]] = {
    # open_clip's own transformer, with torch's attention
    "vit": {
        "embed_dim": DIMENSION,
        "vision_cfg": {"image_size": IMAGE_SIZE, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": TEXT_CONFIG,
    },
    "convnext": MODEL_CONFIG | {"vision_cfg": MODEL_CONFIG["vision_cfg"] | {"timm_model_name": "test_convnext"}},
    # a text tower kept apart, pooled at its last token without a causal mask; a tokenizer without a start token;
    # a logit bias for the pairwise sigmoid; attention pooling and no projection of images
    "siglip": {
        "embed_dim": 64,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {
            "timm_model_name": "test_vit",
            "timm_model_pretrained": False,
            "timm_pool": "map",
            "timm_proj": "none",
            "image_size": IMAGE_SIZE,
        },
        "text_cfg": TEXT_CONFIG
        | {
            "vocab_size": 16,
            "hf_tokenizer_name": "words",
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
        },
    },
}
"""Small relatives of the families that open_clip loads."""


def tiny_encoder(
    library: Path,
    name: str = "tiny-clip",
    *,
    trained_on: str | None = None,
    seed: int = 0,
    model_config: Mapping[str, Any] = MODEL_CONFIG,
) -> Encoder:
    """Writes `library`/models/`name` (open_clip local-dir, about 4 MB) and returns its catalogue entry.

    `ModelRef.of(tiny_encoder(tmp_path))` loads with `EncoderCache(Library(tmp_path), torch.device("cpu"))`. The same
    seed always gives the same digest."""
    folder = library / "models" / name
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": model_config, "preprocess_cfg": PREPROCESSING}
    if "hf_tokenizer_name" in model_config["text_cfg"]:
        word_tokenizer().save_pretrained(folder)
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2, sort_keys=True))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    save_file(
        {key: value.contiguous() for key, value in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    return Encoder(name=name, model=f"library:models/{name}", digest=folder_digest(folder), trained_on=trained_on)


def tiny_backbone(library: Path, name: str = "tiny-backbone", architecture: str = "test_resnet") -> Encoder:
    """Writes `library`/models/`name` as timm saves a model, random weights (about 2 MB), and returns its entry."""
    folder = library / "models" / name
    # A transformer made for another size would resample its position embedding in every forward pass.
    made_for: dict[str, Any] = {"img_size": IMAGE_SIZE} if "vit" in architecture else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = timm.create_model(architecture, pretrained=False, **made_for)
    folder.mkdir(parents=True, exist_ok=True)
    preprocessing = {"input_size": (3, IMAGE_SIZE, IMAGE_SIZE), "crop_pct": 1.0, "std": (0.25, 0.25, 0.25)}
    timm.models.save_for_hf(
        network, str(folder), safe_serialization=True, data_config=preprocessing, model_args=made_for
    )
    return Encoder(name=name, model=f"library:models/{name}", digest=folder_digest(folder), kind="timm")


def word_tokenizer() -> PreTrainedTokenizerFast:
    """One token per known word, an end token after the last; nothing before the first."""
    vocabulary = {word: number for number, word in enumerate(("<pad>", "</s>", "<unk>", *WORDS))}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
