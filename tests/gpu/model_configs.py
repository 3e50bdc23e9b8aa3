"""The shapes of the real models, to be built with random weights: speed does not depend on what the weights are."""

from typing import Any

IMAGE_SIZE = 224
VIT_B_16: dict[str, Any] = {
    "embed_dim": 512,
    "vision_cfg": {"image_size": IMAGE_SIZE, "layers": 12, "width": 768, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12},
}
"""CLIP ViT-B/16, 149.6 million parameters."""
VIT_B_16_PARAMETERS = 149_620_737

UNET: dict[str, Any] = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "layers_per_block": 2,
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
"""Stable Diffusion 1.5's, 859.5 million parameters; images of 512 pixels are latents of 64."""
UNET_PARAMETERS = 859_520_964

CODEC: dict[str, Any] = {
    "sample_size": 512,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
}
TEXT: dict[str, Any] = {
    "vocab_size": 49408,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
}
"""CLIP ViT-L/14's text encoder."""

SMALL_UNET: dict[str, Any] = UNET | {
    "sample_size": 8,
    "layers_per_block": 1,
    "block_out_channels": (32, 32),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "cross_attention_dim": 32,
}
SMALL_CODEC: dict[str, Any] = CODEC | {
    "sample_size": 64,
    "block_out_channels": (32, 32, 32, 32),
    "layers_per_block": 1,
}
SMALL_TEXT: dict[str, Any] = TEXT | {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
"""Relatives for a CPU."""
