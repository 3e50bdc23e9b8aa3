"""LoRA weights as files: safetensors in the layout diffusers loads and saves."""

from typing import Any

from diffusers import StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from peft import get_peft_model_state_dict
from safetensors.torch import load, save

PREFIX = f"{StableDiffusionPipeline.unet_name}."


def dump_lora(unet: Any) -> bytes:
    """The UNet's LoRA, in float32 on the CPU."""
    weights = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
    return save({f"{PREFIX}{name}": weights[name].detach().float().cpu().contiguous() for name in sorted(weights)})


def add_lora(pipeline: Any, weights: bytes) -> None:
    """Adds the LoRA to the UNet's own weights, which are other weights from then on."""
    pipeline.load_lora_weights(load(weights))
    pipeline.fuse_lora(components=["unet"])
    pipeline.unload_lora_weights()
