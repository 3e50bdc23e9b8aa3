"""Both recipes learn, go on where they stopped, and leave folders that stock open_clip and diffusers load."""

import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file
from touchstone_miniverse.evaluation import class_embeddings, load_judge, load_pipeline, predict, read_targets, sample
from touchstone_miniverse.recipes import encoder, generator
from touchstone_miniverse.tokens import load_tokenizer
from touchstone_miniverse.upstream import Pairs, read_split, read_upstream

HOME = Path(__file__).parents[2] / "miniverse"
ENCODER_RECIPE = encoder.EncoderRecipe(steps=16, batch=32, warmup=4, fraction=0.1)
GENERATOR_RECIPE = generator.GeneratorRecipe(
    steps=40, batch=32, warmup=5, flat=0.5, widths=(32, 48), text_width=32, average_decay=0.8
)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    folder = tmp_path_factory.mktemp("data")
    shutil.copy(HOME / "data" / "upstream-0000.parquet", folder)
    return read_upstream(folder).take(np.arange(800))


def fell(losses: list[float]) -> bool:
    third = len(losses) // 3
    return float(np.mean(losses[-third:])) < float(np.mean(losses[:third]))


def test_short_encoder_run_lowers_the_loss_and_loads_in_open_clip(pairs: Pairs, tmp_path: Path) -> None:
    losses = encoder.train(pairs, ENCODER_RECIPE, tmp_path)
    assert len(losses) == ENCODER_RECIPE.steps
    assert fell(losses)
    name = f"local-dir:{tmp_path / 'export'}"
    model, _, _ = open_clip.create_model_and_transforms(name)
    tokens = open_clip.get_tokenizer(name)(["red apple"])
    assert model.encode_text(tokens).shape == (1, 192)
    assert encoder.train(pairs, ENCODER_RECIPE, tmp_path) == []  # finished: nothing is trained twice


def test_interrupted_generator_run_ends_with_the_same_weights(pairs: Pairs, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(HOME / "models" / "mini-clip")
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    losses = generator.train(pairs, tokenizer, GENERATOR_RECIPE, whole)
    assert len(losses) == GENERATOR_RECIPE.steps
    assert fell(losses)
    resumed.mkdir()
    shutil.copy(whole / "before-decay.safetensors", resumed / "state.safetensors")
    assert generator.train(pairs, tokenizer, GENERATOR_RECIPE, resumed) == pytest.approx(losses[20:], abs=1e-4)
    file = Path("export/unet/diffusion_pytorch_model.safetensors")
    expected, found = load_file(whole / file), load_file(resumed / file)
    assert len(expected) > 50
    for weight, value in expected.items():
        torch.testing.assert_close(found[weight], value, atol=2e-3, rtol=0)


def test_shipped_encoder_knows_flags_in_a_style_it_never_saw() -> None:
    judge = load_judge(HOME / "models" / "mini-clip")
    flags = next(target for target in read_targets(HOME) if target["name"] == "flags")
    images, labels = read_split(HOME / "data", "flags", "test")
    assert len(images) == 240
    right = predict(judge, [Image.fromarray(image) for image in images], class_embeddings(judge, flags)) == labels
    assert right.mean() == pytest.approx(0.775, abs=0.02)  # the model card; other processors round differently


def test_shipped_generator_draws_from_text_and_from_a_picture() -> None:
    folder = HOME / "models" / "mini-diffusion"
    pipeline = load_pipeline(folder)
    assert type(pipeline) is StableDiffusionPipeline
    first = sample(pipeline, ["flag of Japan, round flag icon"], steps=4, seed=3)
    again = sample(pipeline, ["flag of Japan, round flag icon"], steps=4, seed=3)
    assert first[0].size == (32, 32)
    assert np.array_equal(np.asarray(first[0]), np.asarray(again[0]))
    redraw = StableDiffusionImg2ImgPipeline(**pipeline.components, requires_safety_checker=False)
    redraw.set_progress_bar_config(disable=True)
    changed = redraw("a heart", image=first[0], strength=0.5, num_inference_steps=4).images[0]
    assert changed.size == (32, 32)
