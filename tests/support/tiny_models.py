"""A tiny, randomly initialised CLIP model on disk: loads through the same path as a real one, in a moment."""

import json
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file
from touchstone_contracts.catalogue import Encoder
from touchstone_runtime.digests import folder_digest

IMAGE_SIZE = 32
DIMENSION = 16

MODEL_CONFIG = {
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


def tiny_encoder(library: Path, name: str = "tiny-clip", *, trained_on: str | None = None, seed: int = 0) -> Encoder:
    """Writes `library`/models/`name` (open_clip local-dir, about 4 MB) and returns its catalogue entry.

    `ModelRef.of(tiny_encoder(tmp_path))` loads with `EncoderCache(Library(tmp_path), torch.device("cpu"))`. The same
    seed always gives the same digest."""
    folder = library / "models" / name
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": MODEL_CONFIG, "preprocess_cfg": PREPROCESSING}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2, sort_keys=True))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    save_file(
        {key: value.contiguous() for key, value in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    return Encoder(name=name, model=f"library:models/{name}", digest=folder_digest(folder), trained_on=trained_on)
