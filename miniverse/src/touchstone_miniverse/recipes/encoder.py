"""mini-clip: a small CLIP trained from scratch on a fixed part of the upstream.

Only part of the upstream, so that adapting the encoder has something to gain. Expected: zero-shot top-1 on
flags/test (240 classes, a style never seen) of 0.5 or more after 1,050 steps of 256 pairs. The first part of the
training sees smaller pictures, which costs half as much and loses little (no position is learned).
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import open_clip
import structlog
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPTokenizer

from touchstone_miniverse.augmentation import augment
from touchstone_miniverse.captions import said_subject
from touchstone_miniverse.export import export_encoder
from touchstone_miniverse.recipes.learner import Learner
from touchstone_miniverse.schedules import warmup_cosine
from touchstone_miniverse.sources import Kind
from touchstone_miniverse.tokens import tokenize, train_tokenizer
from touchstone_miniverse.upstream import Pairs, fixed_fraction, read_upstream

log = structlog.get_logger()

CONTEXT = 16
SIDE = 48
MEAN, STD = (0.76, 0.70, 0.67), (0.33, 0.34, 0.37)
# How often a picture is drawn, by kind: interface icons are many, alike and far from the targets.
SAMPLING_WEIGHTS = {Kind.EMOJI: 1.0, Kind.FLAG: 1.0, Kind.CLIP_ART: 0.6, Kind.INTERFACE: 0.25}


@dataclass(frozen=True)
class EncoderRecipe:
    """Everything that decides the weights."""

    steps: int = 1050
    batch: int = 256
    learning_rate: float = 1.0e-3
    weight_decay: float = 0.2
    warmup: int = 100
    average_decay: float = 0.995
    fraction: float = 0.35
    small_side: int = 32
    small_share: float = 0.55
    bfloat16: bool = False
    seed: int = 7


def architecture(vocabulary: int) -> dict:
    """The open_clip model configuration: timm resnet10t at 48 px, two text layers of width 192."""
    return {
        "embed_dim": 192,
        "vision_cfg": {"timm_model_name": "resnet10t", "timm_model_pretrained": False, "timm_pool": "",
                       "timm_proj": "linear", "image_size": SIDE},
        "text_cfg": {"context_length": CONTEXT, "vocab_size": vocabulary, "width": 192, "heads": 3, "layers": 2,
                     "hf_tokenizer_name": "mini-clip"},
    }  # fmt: skip


def build_encoder(vocabulary: int) -> open_clip.CLIP:
    """An untrained mini-clip."""
    return open_clip.CLIP(**architecture(vocabulary))


def train(pairs: Pairs, recipe: EncoderRecipe, folder: Path, save_every: int = 100) -> list[float]:
    """Train (or go on from `folder/state.safetensors`) and return the losses of this call's steps.

    Leaves the state, the tokenizer and, at the end, the averaged model in open_clip's layout in `folder`.
    """
    torch.manual_seed(recipe.seed)
    part = fixed_fraction(pairs, recipe.fraction, "mini-clip")
    tokenizer = train_tokenizer(part.captions, CONTEXT)
    model = build_encoder(len(tokenizer)).to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(
        _decay_groups(model, recipe.weight_decay), lr=recipe.learning_rate, betas=(0.9, 0.98), fused=True
    )
    learner = Learner(model, optimiser, recipe.batch, folder)
    learner.resume()
    log.info("encoder.started", pairs=len(part), vocabulary=len(tokenizer), step=learner.done)
    for step in range(learner.done, recipe.steps):
        loss = _loss(model, tokenizer, part, recipe, step)
        learner.descend(loss, warmup_cosine(step, recipe.warmup, recipe.steps), recipe.average_decay)
        with torch.no_grad():
            model.logit_scale.clamp_(0, np.log(100))
        if learner.done % save_every == 0 or learner.done == recipe.steps:
            learner.save()
    model.load_state_dict(learner.average)
    export_encoder(model, tokenizer, architecture(len(tokenizer)), MEAN, STD, folder / "export")
    return learner.losses


def caption_variant(caption: str, rng: np.random.Generator) -> str:
    """One way to say the caption: its subject always, then at random a phrase around it, style and some keywords."""
    name, *rest = caption.split(", ")
    style, keywords = (rest[0], rest[1:]) if rest else ("", [])
    phrase = ("{}", "{}", "an icon of {}", "a picture of {}", "{}, emoji", "{}, flag icon")[rng.integers(6)]
    if phrase == "{}, flag icon" and "flag" not in name:
        phrase = "{}, emoji"
    chosen = [keywords[number] for number in rng.permutation(len(keywords))[: rng.integers(4)]]
    shown = [style] if style and rng.random() < 0.3 else []
    return ", ".join([phrase.format(said_subject(name, keywords, rng)), *shown, *chosen])


def contrastive_loss(images: Tensor, texts: Tensor, scale: Tensor, names: Sequence[str]) -> Tensor:
    """CLIP's symmetric loss; pairs that share a name are no negatives of each other.

    `images`, `texts`: (batch, width), normalised. `scale`: the inverse temperature.
    """
    logits = scale * images @ texts.T
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    ids = torch.tensor([numbers[name] for name in names])
    same = (ids[:, None] == ids[None, :]) & ~torch.eye(len(ids), dtype=torch.bool)
    logits = logits.masked_fill(same, float("-inf"))
    target = torch.arange(len(ids))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def _loss(model: open_clip.CLIP, tokenizer: CLIPTokenizer, pairs: Pairs, recipe: EncoderRecipe, step: int) -> Tensor:
    rng = np.random.default_rng([recipe.seed, step])
    weights = np.array([SAMPLING_WEIGHTS[kind] for kind in pairs.kinds])
    rows = rng.choice(len(pairs), size=recipe.batch, p=weights / weights.sum())
    captions = [pairs.captions[row] for row in rows]
    side = recipe.small_side if step < recipe.small_share * recipe.steps else SIDE
    images = normalise(augment(torch.from_numpy(pairs.images[rows]), side, rng))
    tokens = tokenize(tokenizer, [caption_variant(caption, rng) for caption in captions])
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bfloat16):
        image_features, text_features, scale = model(images.to(memory_format=torch.channels_last), tokens)
    names = [caption.split(", ")[0] for caption in captions]
    return contrastive_loss(image_features.float(), text_features.float(), scale, names)


def normalise(images: Tensor) -> Tensor:
    """(n, 3, h, w) in [0, 1] to the encoder's input."""
    return (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def _decay_groups(model: torch.nn.Module, weight_decay: float) -> list[dict]:
    """Weight decay for matrices and kernels only, not for gains, offsets and the temperature."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in parameters if parameter.ndim >= 2], "weight_decay": weight_decay},
        {"params": [parameter for parameter in parameters if parameter.ndim < 2], "weight_decay": 0.0},
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: `encoder --steps 1050 --threads 2 --folder .touchstone/miniverse/mini-clip`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[3] / "data")
    parser.add_argument("--folder", type=Path, default=Path(".touchstone/miniverse/mini-clip"))
    parser.add_argument("--steps", type=int, default=EncoderRecipe.steps)
    parser.add_argument("--fraction", type=float, default=EncoderRecipe.fraction, help="part of the upstream seen")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bfloat16", action="store_true", help="faster where the processor has AVX512-BF16")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    recipe = EncoderRecipe(steps=options.steps, fraction=options.fraction, bfloat16=options.bfloat16)
    losses = train(read_upstream(options.data), recipe, options.folder)
    log.info("encoder.finished", last_loss=round(float(np.mean(losses[-20:])), 4) if losses else None)
    (options.folder / "recipe.json").write_text(json.dumps(asdict(recipe), indent=2) + "\n")


if __name__ == "__main__":
    main()
