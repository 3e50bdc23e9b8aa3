"""The generator's text encoder: stock CLIPTextModel, untrained or with the weights of an open_clip text tower."""

import json
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

LAYERS = 2


def build_text_tower(width: int, heads: int, vocabulary: int, context: int) -> CLIPTextModel:
    """Untrained; the last two entries of the vocabulary are start and end, as train_tokenizer makes them."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary, hidden_size=width, intermediate_size=4 * width, projection_dim=width,
            num_hidden_layers=LAYERS, num_attention_heads=heads, max_position_embeddings=context, hidden_act="gelu",
            bos_token_id=vocabulary - 2, eos_token_id=vocabulary - 1, pad_token_id=vocabulary - 1,
            # Plain attention: on CPU the backward pass of the fused one takes a third of a step.
            attn_implementation="eager",
        )
    )  # fmt: skip


def trained_text_tower(folder: Path) -> CLIPTextModel:
    """The text tower of the encoder that open_clip saved in `folder`, without its projection into the shared space."""
    settings = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]["text_cfg"]
    tower = build_text_tower(settings["width"], settings["heads"], settings["vocab_size"], settings["context_length"])
    weights = {
        name: value.float()
        for name, value in load_file(folder / "open_clip_model.safetensors").items()
        if not name.startswith("visual.")
    }
    tower.load_state_dict(_renamed(weights), strict=True)
    return tower


def _renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """open_clip's names to those of transformers; one matrix for queries, keys and values becomes three."""
    renamed = {
        "embeddings.token_embedding.weight": weights["token_embedding.weight"],
        "embeddings.position_embedding.weight": weights["positional_embedding"],
    }
    for kind in ("weight", "bias"):
        renamed[f"final_layer_norm.{kind}"] = weights[f"ln_final.{kind}"]
        for layer in range(LAYERS):
            theirs, ours = f"transformer.resblocks.{layer}", f"encoder.layers.{layer}"
            queries_keys_values = weights[f"{theirs}.attn.in_proj_{kind}"].chunk(3)
            for name, value in zip(("q", "k", "v"), queries_keys_values, strict=True):
                renamed[f"{ours}.self_attn.{name}_proj.{kind}"] = value
            for their, our in _LAYER_NAMES.items():
                renamed[f"{ours}.{our}.{kind}"] = weights[f"{theirs}.{their}.{kind}"]
    return renamed


_LAYER_NAMES = {
    "ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2",
}  # fmt: skip
