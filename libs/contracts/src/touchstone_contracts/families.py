"""What is known of a family of generators before its files are read: how it samples by default, and what it can do.

Steps and guidance are those of the signature of the family's pipeline in diffusers
(https://huggingface.co/docs/diffusers/api/pipelines/overview), those of distilled models and the sizes those of their
model cards:
stabilityai/sd-turbo, stabilityai/sdxl-turbo, black-forest-labs/FLUX.1-schnell on https://huggingface.co."""

from dataclasses import dataclass, replace
from typing import Literal

SchedulerName = Literal["ddim", "dpm_solver", "euler", "pndm", "unipc", "own"]
"""`own`: the scheduler that the generator's folder holds, as it is configured there."""
GeneratorFamily = Literal[
    "stable_diffusion",
    "stable_diffusion_turbo",
    "stable_diffusion_xl",
    "stable_diffusion_xl_turbo",
    "latent_consistency",
    "stable_diffusion_3",
    "flux",
    "flux_schnell",
    "pixart_alpha",
    "pixart_sigma",
    "sana",
    "dit",
]
Half = Literal["float16", "bfloat16"]

EVERY_SCHEDULER: frozenset[SchedulerName] = frozenset({"ddim", "dpm_solver", "euler", "pndm", "unipc", "own"})
OWN: frozenset[SchedulerName] = frozenset({"own"})
"""Of models that flow matching or a distillation was trained for: the other schedulers follow another noise."""


@dataclass(frozen=True)
class Family:
    pipeline: str
    """The class that `_class_name` in the folder's model_index.json names."""
    steps: int
    guidance_scale: float
    image_size: int
    """Pixels."""
    schedulers: frozenset[SchedulerName] = EVERY_SCHEDULER
    perturbs: bool = True
    """Whether diffusers has an image-to-image pipeline of it."""
    negative_prompts: bool = True
    tunes: bool = False
    """Whether `tune_generator` can add a LoRA to it."""
    prompts: bool = True
    """False: it is told a class and not a text."""
    half: Half = "float16"
    """Its precision on a GPU: text encoders of the T5 and Gemma kinds overflow in float16."""


_SD = Family("StableDiffusionPipeline", steps=50, guidance_scale=7.5, image_size=512, tunes=True)
_SDXL = Family("StableDiffusionXLPipeline", steps=50, guidance_scale=5.0, image_size=1024)
_FLUX = Family(
    "FluxPipeline",
    steps=28,
    guidance_scale=3.5,
    image_size=1024,
    schedulers=OWN,
    negative_prompts=False,
    half="bfloat16",
)
_PIXART = Family("PixArtAlphaPipeline", steps=20, guidance_scale=4.5, image_size=1024, perturbs=False, half="bfloat16")
FAMILIES: dict[GeneratorFamily, Family] = {
    "stable_diffusion": _SD,
    "stable_diffusion_turbo": replace(_SD, steps=1, guidance_scale=0.0, tunes=False),
    "stable_diffusion_xl": _SDXL,
    "stable_diffusion_xl_turbo": replace(_SDXL, steps=1, guidance_scale=0.0, image_size=512),
    "latent_consistency": Family(
        "LatentConsistencyModelPipeline",
        steps=4,
        guidance_scale=8.5,
        image_size=768,
        schedulers=OWN,
        negative_prompts=False,
    ),
    "stable_diffusion_3": Family(
        "StableDiffusion3Pipeline", steps=28, guidance_scale=7.0, image_size=1024, schedulers=OWN, half="bfloat16"
    ),
    "flux": _FLUX,
    "flux_schnell": replace(_FLUX, steps=4, guidance_scale=0.0),
    "pixart_alpha": _PIXART,
    "pixart_sigma": replace(_PIXART, pipeline="PixArtSigmaPipeline"),
    "sana": Family(
        "SanaPipeline",
        steps=20,
        guidance_scale=4.5,
        image_size=1024,
        schedulers=OWN,
        perturbs=False,
        half="bfloat16",
    ),
    "dit": Family(
        "DiTPipeline",
        steps=50,
        guidance_scale=4.0,
        image_size=256,
        # Its pipeline starts from unscaled noise and asks the scheduler for a second argument, as these two take it.
        schedulers=frozenset({"ddim", "dpm_solver", "own"}),
        perturbs=False,
        negative_prompts=False,
        prompts=False,
    ),
}


def pipelines() -> dict[str, Family]:
    """By the class of the pipeline, as its undistilled family is."""
    by_class: dict[str, Family] = {}
    for family in FAMILIES.values():
        by_class.setdefault(family.pipeline, family)
    return by_class
