"""Both recipes learn, go on where they stopped, and leave folders that stock open_clip and diffusers load."""

import json
import shutil
from dataclasses import replace
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
from touchstone_miniverse.text_tower import build_text_tower, trained_text_tower
from touchstone_miniverse.tokens import load_tokenizer, tokenize, train_tokenizer
from touchstone_miniverse.upstream import Pairs, read_split, read_upstream

HOME = Path(__file__).parents[2] / "miniverse"
ENCODER_RECIPE = encoder.EncoderRecipe(steps=200, batch=8, warmup=20, fraction=0.1)
GENERATOR_RECIPE = generator.GeneratorRecipe(
    steps=200, batch=8, warmup=20, flat=0.5, widths=(16, 32), average_decay=0.8
)
PICTURES = 800
CONTEXT = 16


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    folder = tmp_path_factory.mktemp("data")
    shutil.copy(HOME / "data" / "upstream-0000.parquet", folder)
    return read_upstream(folder).take(np.arange(PICTURES))


def fell(losses: list[float]) -> bool:
    third = len(losses) // 3
    return float(np.mean(losses[-third:])) < float(np.mean(losses[:third]))


def test_two_hundred_encoder_steps_lower_the_loss_and_load_in_open_clip(pairs: Pairs, tmp_path: Path) -> None:
    losses = encoder.train(pairs, ENCODER_RECIPE, tmp_path)
    assert len(losses) == 200
    assert fell(losses)
    name = f"local-dir:{tmp_path / 'export'}"
    model, _, _ = open_clip.create_model_and_transforms(name)
    tokens = open_clip.get_tokenizer(name)(["red apple"])
    assert model.encode_text(tokens).shape == (1, 192)
    assert encoder.train(pairs, ENCODER_RECIPE, tmp_path) == []  # finished: nothing is trained twice
    curve = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert [point["step"] for point in curve] == [50, 100, 150, 200]
    assert curve[-1]["samples"] == 200 * 8
    assert curve[-1]["loss"] == pytest.approx(np.mean(losses[150:]), abs=1e-3)


@pytest.fixture(scope="module")
def generator_run(pairs: Pairs, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float]]:
    folder = tmp_path_factory.mktemp("generator")
    return folder, train_generator(pairs, GENERATOR_RECIPE, folder)


def train_generator(
    pairs: Pairs, recipe: generator.GeneratorRecipe, folder: Path, start_from: Path | None = None
) -> list[float]:
    """From an untrained text tower of width 32, drawn with a fixed seed."""
    tokenizer = train_tokenizer(pairs.captions, CONTEXT)
    torch.manual_seed(3)
    tower = build_text_tower(width=32, heads=2, vocabulary=len(tokenizer), context=CONTEXT)
    return generator.train(pairs, tokenizer, tower, recipe, folder, start_from=start_from)


def test_two_hundred_generator_steps_lower_the_loss_and_leave_pictures(
    generator_run: tuple[Path, list[float]],
) -> None:
    folder, losses = generator_run
    assert len(losses) == 200
    assert fell(losses)
    with Image.open(folder / "grids" / "000200.png") as drawn:
        assert drawn.size == (12 * 64, len(generator.WATCHED_PROMPTS) // 2 * 64)


def test_interrupted_generator_run_ends_with_the_same_weights(
    pairs: Pairs, generator_run: tuple[Path, list[float]], tmp_path: Path
) -> None:
    whole, losses = generator_run
    shutil.copy(whole / "before-decay.safetensors", tmp_path / "state.safetensors")
    assert train_generator(pairs, GENERATOR_RECIPE, tmp_path) == pytest.approx(losses[100:], abs=1e-4)
    file = Path("export/unet/diffusion_pytorch_model.safetensors")
    expected, found = load_file(whole / file), load_file(tmp_path / file)
    assert len(expected) > 50
    for weight, value in expected.items():
        torch.testing.assert_close(found[weight], value, atol=2e-3, rtol=0)


def test_a_run_from_exported_weights_begins_where_they_stood(
    pairs: Pairs, generator_run: tuple[Path, list[float]], tmp_path: Path
) -> None:
    whole, losses = generator_run
    again = replace(GENERATOR_RECIPE, steps=20, seed=12)
    resumed = train_generator(pairs, again, tmp_path, start_from=whole / "export")
    assert np.mean(resumed) < np.mean(losses[:100])
    assert np.mean(resumed) == pytest.approx(np.mean(losses[-50:]), rel=0.1)


def test_text_tower_of_an_encoder_embeds_captions_as_open_clip_does() -> None:
    folder = HOME / "models" / "mini-clip"
    captions = ["flag of Canada", "owl, flat twemoji style emoji", ""]
    judge, tower, tokens = load_judge(folder), trained_text_tower(folder), tokenize(load_tokenizer(folder), captions)
    with torch.no_grad():
        states = tower.eval()(tokens).last_hidden_state
        expected = judge.model.encode_text(judge.tokenize(captions))
    pooled = states[torch.arange(len(captions)), tokens.argmax(-1)]
    torch.testing.assert_close(pooled @ judge.model.text_projection, expected, atol=1e-5, rtol=1e-5)


def test_shipped_encoder_knows_flags_in_a_style_it_never_saw() -> None:
    judge = load_judge(HOME / "models" / "mini-clip")
    flags = next(target for target in read_targets(HOME) if target["name"] == "flags")
    images, labels = read_split(HOME / "data", "flags", "test")
    assert len(images) == 241
    right = predict(judge, [Image.fromarray(image) for image in images], class_embeddings(judge, flags)) == labels
    assert right.mean() == pytest.approx(0.726, abs=0.02)  # the model card; other processors round differently


def test_shipped_generator_draws_from_text_and_from_a_picture() -> None:
    folder = HOME / "models" / "mini-diffusion"
    pipeline = load_pipeline(folder)
    assert type(pipeline) is StableDiffusionPipeline
    first = sample(pipeline, ["flag of Japan, small flag icon"], steps=4, seed=3)
    again = sample(pipeline, ["flag of Japan, small flag icon"], steps=4, seed=3)
    assert first[0].size == (32, 32)
    assert np.array_equal(np.asarray(first[0]), np.asarray(again[0]))
    redraw = StableDiffusionImg2ImgPipeline(**pipeline.components, requires_safety_checker=False)
    redraw.set_progress_bar_config(disable=True)
    changed = redraw("a heart", image=first[0], strength=0.5, num_inference_steps=4).images[0]
    assert changed.size == (32, 32)
