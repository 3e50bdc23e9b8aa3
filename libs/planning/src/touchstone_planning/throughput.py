"""How much a GPU does in a second: public figures for Stable Diffusion 1.5 at 512 pixels and ViT-B/16 at 224.

Figures marked "derived" take a forward pass for a third of an update (forward, and twice that backward)."""

from dataclasses import dataclass

REFERENCE_PIXELS = 512 * 512
"""Denoising figures are for images of this size."""
FORWARD_SHARE = 3
"""Images that can be looked at in the time that training on one takes."""

DENOISING_STEPS_PER_UPDATE = 1.5
"""Sampling steps with guidance, two passes of the UNet each, in the time of one image's forward and backward pass."""


@dataclass(frozen=True)
class Throughput:
    """Of one GPU."""

    gpu: str
    denoising_steps: float
    """Sampling steps a second over all images of a batch of 16, guidance included."""
    trained_images: float
    """Forward and backward, a second."""
    embedded_images: float
    """Forward, a second."""
    sources: tuple[str, ...]


DIFFUSERS = (
    "huggingface/diffusers docs/source/en/optimization/torch2.0.md: SD txt2img, batch 16, torch 2.0 not compiled"
)
TIMM = "huggingface/pytorch-image-models results/"

THROUGHPUTS = (
    Throughput(
        gpu="A100",
        denoising_steps=16 * 3.04,
        trained_images=134_239.8 / 344,
        embedded_images=FORWARD_SHARE * 134_239.8 / 344,
        sources=(
            f"denoising: {DIFFUSERS}",
            "training: LAION's trained_models_info.csv (arXiv 2212.07143): ViT-B-16 on 344 GPUs, text tower included",
            "embedding: derived from training",
        ),
    ),
    Throughput(
        gpu="RTX 4090",
        denoising_steps=16 * 3.17,
        trained_images=2843.0 / FORWARD_SHARE,
        embedded_images=2843.0,
        sources=(
            f"denoising: {DIFFUSERS}",
            "training: derived from embedding",
            f"embedding: {TIMM}benchmark-infer-amp-nhwc-pt240-cu124-rtx4090.csv: vit_base_patch16_224",
        ),
    ),
    Throughput(
        gpu="RTX 3090",
        denoising_steps=16 * 1.70,
        trained_images=392.99,
        embedded_images=FORWARD_SHARE * 392.99,
        sources=(
            f"denoising: {DIFFUSERS}",
            f"training: {TIMM}benchmark-train-amp-nhwc-pt112-cu113-rtx3090.csv: vit_base_patch16_224",
            "embedding: derived from training",
        ),
    ),
)

SLOWEST = min(THROUGHPUTS, key=lambda gpu: gpu.denoising_steps)
"""At generating images, which takes most of the time. Assumed of workers on which nothing was measured."""

ASSUMPTIONS = (
    "An estimate from public figures, not a measurement: every encoder counts as ViT-B/16 at 224 pixels, every "
    "generator as Stable Diffusion 1.5, scaled by its number of pixels.",
    "The figures are for mixed precision and one busy GPU; training in fp32 takes longer, and so do slow disks.",
    "Retrieved images are counted at the most that their queries can find; linear probes, searching and storing are "
    "free.",
)
