"""Image backbones that timm loads: the same path as a CLIP encoder up to the first text."""

from pathlib import Path

import pytest
import timm
import torch
from support.tiny_models import IMAGE_SIZE, tiny_backbone, tiny_encoder
from support.trainer_world import CLASSES, RECIPE, TEMPLATES, World, progress, square
from touchstone_contracts.adaptation import Evaluation, LinearProbe
from touchstone_contracts.problems import Invalid
from touchstone_contracts.recipes import Recipe
from touchstone_contracts.recipes.contrastive import Contrastive
from touchstone_contracts.recipes.head_only import HeadOnly
from touchstone_contracts.recipes.learned_prompts import LearnedPrompts
from touchstone_contracts.recipes.lora import LoRA
from touchstone_contracts.steps import EvaluateEncoder, ModelRef
from touchstone_encoders.embedding import embed_images
from touchstone_encoders.loading import EncoderCache, NoTextTower
from touchstone_runtime.decoding import decode_image
from touchstone_runtime.library import Library
from touchstone_trainer.tasks import adapt_encoder, evaluate_encoder

PROBE_ALONE = Evaluation(metrics=("linear_probe",), linear_probe=LinearProbe(epochs=30, batch_size=16))
OPTIMISATION = {"epochs": 2, "batch_size": 8, "learning_rates": (3e-3,)}


@pytest.fixture
def world(tmp_path: Path) -> World:
    torch.set_num_threads(1)
    return World(tmp_path, tiny_backbone)


def cache(library: Path) -> EncoderCache:
    return EncoderCache(Library(library), torch.device("cpu"))


def probed(world: World, *adaptations: object) -> EvaluateEncoder:
    request = world.evaluate_request(*adaptations)  # type: ignore[arg-type]  # passed through
    return request.model_copy(update={"evaluation": PROBE_ALONE})


@pytest.mark.parametrize("architecture", ["test_resnet", "test_convnext"])
def test_features_are_those_of_timm_itself(tmp_path: Path, architecture: str) -> None:
    entry = tiny_backbone(tmp_path, architecture=architecture)
    tower = cache(tmp_path).tower(ModelRef.of(entry))
    assert (tower.image_size, tower.std) == (IMAGE_SIZE, (0.25, 0.25, 0.25))
    network = timm.create_model(f"local-dir:{tmp_path / 'models' / entry.name}", pretrained=True, num_classes=0).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
    images = [square(number % 3, number) for number in range(5)]
    with torch.inference_mode():
        expected = network(torch.stack([transform(decode_image(image)) for image in images]))
    found = torch.from_numpy(embed_images(tower, images))
    assert torch.allclose(found, torch.nn.functional.normalize(expected, dim=-1), atol=1e-5)


def test_texts_another_digest_and_another_kind_of_folder_are_refused(tmp_path: Path) -> None:
    backbone, clip = ModelRef.of(tiny_backbone(tmp_path)), ModelRef.of(tiny_encoder(tmp_path))
    with pytest.raises(NoTextTower):
        cache(tmp_path).get(backbone)
    with pytest.raises(Invalid, match="digest"):
        cache(tmp_path).tower(backbone.model_copy(update={"digest": "0" * 64}))
    with pytest.raises(Invalid, match="timm cannot load"):
        cache(tmp_path).tower(clip.model_copy(update={"kind": "timm"}))


def test_an_untouched_backbone_is_measured_by_its_probe(world: World) -> None:
    result = evaluate_encoder(probed(world), world.tools, progress())
    assert set(result.predictions) == {"linear_probe"}
    assert result.predictions["linear_probe"].accuracy > 0.5
    assert result.validation_accuracy is None


@pytest.mark.parametrize("recipe", [RECIPE, LoRA(rank=2, **OPTIMISATION)], ids=lambda recipe: recipe.kind)
def test_a_backbone_is_adapted_without_text_and_then_probed(world: World, recipe: Recipe) -> None:
    request = world.adapt_request(world.pool(24), recipe=recipe)
    assert adapt_encoder(request, world.tools, progress()) == adapt_encoder(request, world.tools, progress())
    result = evaluate_encoder(probed(world, world.adapted(request)), world.tools, progress())
    assert result.predictions["linear_probe"].accuracy > 0.5
    assert result.validation_accuracy is not None
    assert result.validation_accuracy > 0.5


@pytest.mark.parametrize(
    "recipe",
    [Contrastive(**OPTIMISATION), LearnedPrompts(**OPTIMISATION), HeadOnly()],
    ids=lambda recipe: recipe.kind,
)
def test_recipes_that_need_text_are_refused_by_the_worker_as_well(world: World, recipe: Recipe) -> None:
    with pytest.raises(NoTextTower):
        adapt_encoder(world.adapt_request(world.pool(24), recipe=recipe), world.tools, progress())


def test_the_head_of_a_backbone_starts_at_0_in_every_class(world: World) -> None:
    head = world.tools.classifier(world.encoder, CLASSES, TEMPLATES).head
    assert head.weight.shape[0] == len(CLASSES)
    assert not head.weight.any()
