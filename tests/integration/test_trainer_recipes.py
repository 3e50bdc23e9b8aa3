"""Every recipe on a tiny encoder: it learns, repeats, leaves alone what it must, and what is stored can be tested."""

import copy
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load
from support.tiny_models import ARCHITECTURES, MODEL_CONFIG, tiny_encoder
from support.trainer_world import CLASSES, TEMPLATES, World, progress
from touchstone_contracts.arms.mixture import Count, Mixing
from touchstone_contracts.identity import sha256
from touchstone_contracts.problems import Invalid
from touchstone_contracts.recipes import Recipe
from touchstone_contracts.recipes.class_labels import CutMix, MixUp
from touchstone_contracts.recipes.contrastive import Contrastive
from touchstone_contracts.recipes.cross_entropy import CrossEntropy
from touchstone_contracts.recipes.head_only import HeadOnly
from touchstone_contracts.recipes.learned_prompts import LearnedPrompts
from touchstone_contracts.recipes.lora import LoRA
from touchstone_contracts.recipes.two_stage import HeadStage, TwoStage
from touchstone_contracts.steps import (
    ADAPT_ENCODER,
    CURATE_IMAGES,
    AdaptEncoder,
    EncoderAdapted,
    ImagesCurated,
    ImagesIngested,
)
from touchstone_contracts.values import StepId
from touchstone_retrieval.curation.mixing import mixed_table
from touchstone_runtime.image_sets import save_image_set, with_all_columns
from touchstone_trainer.checkpoints import Weights, set_weights
from touchstone_trainer.evaluation.zero_shot import accuracy, embed_split, predict
from touchstone_trainer.recipes.learned_prompts import PromptLearner, tokens_with_room
from touchstone_trainer.recipes.lora import LoRALearner
from touchstone_trainer.recipes.subject import Subject
from touchstone_trainer.tasks import adapt_encoder, evaluate_encoder
from touchstone_trainer.tools import build_tools

RECIPES: dict[str, Recipe] = {
    recipe.kind: recipe
    for recipe in (
        CrossEntropy(epochs=4, batch_size=8, learning_rates=(3e-3,)),
        Contrastive(epochs=4, batch_size=8, learning_rates=(1e-3,)),
        HeadOnly(),
        LoRA(epochs=4, batch_size=8, learning_rates=(1e-2,), rank=2),
        LearnedPrompts(epochs=6, batch_size=8, learning_rates=(3e-2,)),
        TwoStage(
            epochs=2, batch_size=8, learning_rates=(3e-3,), head=HeadStage(images=24, batch_size=8, learning_rate=0.1)
        ),
    )
}
TRAINING = [(row % 3, row) for row in range(24)]
every_recipe = pytest.mark.parametrize("kind", RECIPES)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("library"))


def request_for(world: World, recipe: Recipe, *, validation: StepId | None = None) -> AdaptEncoder:
    """Where the recipe asks for images of the target, they are those of a pool of their own."""
    ((rate, single),) = recipe.runs()
    request = world.adapt_request(
        world.pool(len(TRAINING)), size=len(TRAINING), recipe=single, learning_rate=rate, validation=validation
    )
    target = world.pool(recipe.target_images, dropped=2) if recipe.target_images else None
    return request.model_copy(update={"target_pool": target})


def adapted(world: World, recipe: Recipe) -> EncoderAdapted:
    return adapt_encoder(request_for(world, recipe), world.tools, progress())


def weights_of(world: World, result: EncoderAdapted) -> Weights:
    assert result.weights is not None
    return load(world.artifacts.get_blob(result.weights))


def untouched_weights(world: World) -> Weights:
    return dict(world.tools.classifier(world.encoder, CLASSES, TEMPLATES).state_dict())


def subject_of(world: World) -> Subject:
    classifier = world.tools.classifier(world.encoder, CLASSES, TEMPLATES)
    return Subject(classifier, world.tools.encoder(world.encoder), CLASSES, TEMPLATES)


def training_split(world: World) -> StepId:
    """The training images as a split, so that validation accuracy is accuracy in training."""
    return world.finish(sha256(b"training"), "ingest_images", ImagesIngested(images=world.image_set(TRAINING)))


@every_recipe
def test_recipe_lowers_its_loss_and_lifts_training_accuracy(world: World, kind: str) -> None:
    split = training_split(world)
    result = adapt_encoder(request_for(world, RECIPES[kind], validation=split), world.tools, progress())
    untouched = evaluate_encoder(
        world.evaluate_request().model_copy(update={"validation": split}), world.tools, progress()
    )
    best = result.epochs[result.best_epoch - 1].validation_accuracy
    assert untouched.validation_accuracy is not None
    assert best > untouched.validation_accuracy
    if kind == "head_only":
        assert (len(result.epochs), result.updates, result.peak_lr_fraction) == (1, 0, None)
        assert result.mixing_weight is not None
    else:
        assert result.epochs[-1].train_loss < result.epochs[0].train_loss
        epochs = [*result.first_stage, *result.epochs]
        assert (result.updates, result.peak_lr_fraction) == (3 * len(epochs), 1.0)


@every_recipe
def test_same_request_twice_gives_the_same_bytes_and_leaves_the_shared_encoder_alone(world: World, kind: str) -> None:
    request = request_for(world, RECIPES[kind])
    model = world.tools.encoder(world.encoder).model
    before = copy.deepcopy(model.state_dict())
    first = adapt_encoder(request, world.tools, progress())
    torch.rand(5)  # other randomness in between must not matter
    assert adapt_encoder(request, build_tools(world.settings, world.artifacts), progress()) == first
    assert first.weights is not None
    assert len(before) > 10
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@every_recipe
def test_what_is_stored_is_what_was_validated_and_the_linear_probe_works_on_it(world: World, kind: str) -> None:
    adaptation = world.adapted(request_for(world, RECIPES[kind]))
    result = world.artifacts.result(ADAPT_ENCODER, adaptation.step)
    tested = evaluate_encoder(world.evaluate_request(adaptation), world.tools, progress())
    assert tested.validation_accuracy == result.epochs[result.best_epoch - 1].validation_accuracy
    assert (tested.updates, tested.learning_rate) == (result.updates, adaptation.learning_rate)
    assert set(tested.predictions) == {"zero_shot", "linear_probe"}
    assert tested.predictions["linear_probe"].accuracy > 0.5


@pytest.mark.parametrize("kind", ["head_only", "learned_prompts"])
def test_recipes_with_a_frozen_tower_store_the_head_alone(world: World, kind: str) -> None:
    weights = weights_of(world, adapted(world, RECIPES[kind]))
    assert set(weights) == {"head.weight", "head.bias"}
    assert not torch.equal(weights["head.weight"], untouched_weights(world)["head.weight"])


@pytest.mark.parametrize("kind", ["cross_entropy", "contrastive", "lora", "two_stage"])
def test_recipes_that_train_the_tower_store_it_under_the_encoders_own_names(world: World, kind: str) -> None:
    weights, untouched = weights_of(world, adapted(world, RECIPES[kind])), untouched_weights(world)
    assert set(weights) == set(untouched)
    changed = {name for name, value in weights.items() if not torch.equal(value, untouched[name])}
    assert any(name.startswith("tower.") for name in changed)
    assert not any("running" in name for name in changed)


def test_the_second_stage_leaves_the_tower_of_the_first_and_moves_its_head(world: World) -> None:
    recipe = RECIPES["two_stage"]
    assert isinstance(recipe, TwoStage)
    result = adapted(world, recipe)
    both, first = weights_of(world, result), weights_of(world, adapted(world, recipe.first_stage))
    changed = {name for name, value in both.items() if not torch.equal(value, first[name])}
    assert changed == {"head.weight", "head.bias"}
    assert (len(result.first_stage), len(result.epochs)) == (2, 10)
    assert 1 <= result.best_epoch <= 10


def test_the_second_stage_trains_on_the_images_that_the_targets_own_arm_draws_first(world: World) -> None:
    recipe = RECIPES["two_stage"]
    assert isinstance(recipe, TwoStage)
    few = recipe.model_copy(update={"head": recipe.head.model_copy(update={"images": 6})})
    from_many, again, from_others = (
        weights_of(world, adapt_encoder(request_for(world, few).model_copy(update=change), world.tools, progress()))
        for change in ({"target_pool": world.pool(24)}, {"target_pool": world.pool(24)}, {"target_pool": world.pool(6)})
    )
    assert torch.equal(from_many["head.weight"], again["head.weight"])
    assert not torch.equal(from_many["head.weight"], from_others["head.weight"])


def test_too_few_images_of_the_target_end_the_run_with_what_to_do(world: World) -> None:
    request = request_for(world, RECIPES["two_stage"])
    with pytest.raises(Invalid, match=r"left 6 images .* asks for 24: ask for fewer") as refused:
        adapt_encoder(request.model_copy(update={"target_pool": world.pool(6)}), world.tools, progress())
    assert refused.value.code == "too_few_target_images"
    with pytest.raises(Invalid, match="training split"):
        adapt_encoder(request.model_copy(update={"target_pool": None}), world.tools, progress())


@pytest.mark.parametrize("augmentation", [CutMix(), MixUp(), CutMix(probability=0.5)], ids=lambda each: each.kind)
@pytest.mark.parametrize("kind", ["cross_entropy", "lora", "learned_prompts"])
def test_mixed_batches_train_repeat_to_the_byte_and_change_the_result(
    world: World, kind: str, augmentation: CutMix | MixUp
) -> None:
    plain = RECIPES[kind].model_copy(update={"epochs": 2})
    recipe = plain.model_copy(update={"batch_augmentation": augmentation})
    first = adapted(world, recipe)
    torch.rand(5)  # other randomness in between must not matter
    assert adapted(world, recipe) == first
    assert first.epochs != adapted(world, plain).epochs
    assert first.epochs[-1].train_loss < first.epochs[0].train_loss * 1.2  # mixed labels keep the loss up


def mixed_request(world: World, recipe: Recipe, loss_weights: tuple[float, ...]) -> AdaptEncoder:
    """Half of the images from either part of a mixture."""
    parts = [world.artifacts.result(CURATE_IMAGES, world.pool(images)).images for images in (12, 15)]
    table = mixed_table([with_all_columns(world.artifacts.get_table(part.manifest)) for part in parts])
    image_set = save_image_set(world.artifacts, table, [blob for part in parts for blob in part.shards])
    counts = world.artifacts.result(CURATE_IMAGES, world.pool(12)).counts
    pool = world.finish(
        sha256(b"two parts"), CURATE_IMAGES.name, ImagesCurated(images=image_set, counts=counts, kept_by_class=())
    )
    mixing = Mixing(mode="additive", amounts=(Count(images=12), Count(images=3)), loss_weights=loss_weights)
    return request_for(world, recipe).model_copy(update={"pool": pool, "size": 15, "mixing": mixing})


def test_a_part_that_counts_for_nearly_nothing_is_nearly_left_out(world: World) -> None:
    recipe = CrossEntropy(epochs=1, batch_size=64, learning_rates=(1e-3,))
    losses = {
        weights: adapt_encoder(mixed_request(world, recipe, weights), world.tools, progress()).epochs[0].train_loss
        for weights in ((), (1.0, 1.0), (1000.0, 0.001), (0.001, 1000.0))
    }
    equal, first, second = losses[1.0, 1.0], losses[1000.0, 0.001], losses[0.001, 1000.0]
    assert losses[()] == pytest.approx(equal, rel=1e-6)
    # One batch and no update before it: the loss of all is the mean of the parts' by their numbers of images.
    assert equal == pytest.approx((12 * first + 3 * second) / 15, rel=1e-4)
    assert first != pytest.approx(second, rel=1e-3)


def test_weights_that_a_recipe_would_not_use_are_refused(world: World) -> None:
    with pytest.raises(Invalid, match="head_only cannot weigh images") as refused:
        adapt_encoder(mixed_request(world, HeadOnly(), (1.0, 2.0)), world.tools, progress())
    assert refused.value.code == "weights_unused"


def test_lora_changes_matrices_by_its_rank_and_nothing_else_of_the_tower(world: World) -> None:
    weights, untouched = weights_of(world, adapted(world, RECIPES["lora"])), untouched_weights(world)
    changed = {
        name: (weights[name] - untouched[name]).flatten(1)
        for name in weights
        if name.startswith("tower.") and not torch.equal(weights[name], untouched[name])
    }
    assert len(changed) > 5
    assert all(torch.linalg.matrix_rank(change, rtol=1e-3) <= 2 for change in changed.values())


def test_merged_low_rank_updates_compute_what_the_unmerged_did(world: World) -> None:
    subject = subject_of(world)
    learner = LoRALearner(subject, rank=2, seed=0).eval()
    with torch.no_grad():
        for parameter in learner.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    pixels = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        untouched = subject.classifier(pixels)
        unmerged = learner.outputs(pixels, torch.zeros(4, dtype=torch.int64))
        set_weights(subject.classifier, learner.weights())
        merged = subject.classifier(pixels)
    assert torch.allclose(merged, unmerged, atol=1e-4)
    assert not torch.allclose(merged, untouched, atol=1e-2)


def test_fresh_low_rank_updates_change_nothing(world: World) -> None:
    weights, untouched = LoRALearner(subject_of(world), rank=2, seed=0).weights(), untouched_weights(world)
    assert all(torch.equal(value, untouched[name]) for name, value in weights.items())


@pytest.mark.parametrize("kind", ["cross_entropy", "contrastive", "lora"])
def test_interpolation_goes_from_the_untouched_encoder_to_the_tuned_one(world: World, kind: str) -> None:
    recipe = RECIPES[kind].model_copy(update={"epochs": 1})
    found = {
        alpha: weights_of(world, adapted(world, recipe.model_copy(update={"interpolation": alpha})))
        for alpha in (0.0, 0.5, 1.0)
    }
    untouched, tuned = untouched_weights(world), weights_of(world, adapted(world, recipe))
    assert len(tuned) > 10
    for name, value in tuned.items():
        assert torch.equal(found[0.0][name], untouched[name])
        assert torch.equal(found[1.0][name], value)
        if value.is_floating_point():
            assert torch.allclose(found[0.5][name], (untouched[name] + value) / 2, atol=1e-6)


@pytest.mark.parametrize("kind", ["cross_entropy", "contrastive", "lora", "learned_prompts"])
def test_micro_batches_change_the_weights_by_rounding_only(world: World, kind: str) -> None:
    recipe = RECIPES[kind].model_copy(update={"epochs": 1})
    whole = weights_of(world, adapted(world, recipe))
    parts = weights_of(world, adapted(world, recipe.model_copy(update={"micro_batch_size": 3})))
    start = untouched_weights(world)
    for name, value in whole.items():
        moved = (value.float() - start[name].float()).abs().max()
        assert (parts[name].float() - value.float()).abs().max() <= 1e-5 + 0.02 * moved
    assert any(not torch.equal(value, start[name]) for name, value in whole.items())


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("kind", ["contrastive", "lora", "learned_prompts"])
def test_reduced_precision_trains_too(world: World, kind: str, precision: str) -> None:
    result = adapted(world, RECIPES[kind].model_copy(update={"precision": precision, "epochs": 2}))
    assert result.epochs[1].train_loss < result.epochs[0].train_loss
    assert all(value.dtype in (torch.float32, torch.int64) for value in weights_of(world, result).values())


def request_without_blue(world: World, recipe: Recipe) -> AdaptEncoder:
    """Of three classes the last one has no image."""
    images = world.image_set([(row % 2, row) for row in range(16)], kept=16)
    counts = world.artifacts.result(CURATE_IMAGES, world.pool(16)).counts
    pool = world.finish(
        sha256(b"two of three"),
        CURATE_IMAGES.name,
        ImagesCurated(images=images, counts=counts, kept_by_class=(8, 8, 0)),
    )
    return request_for(world, recipe).model_copy(update={"pool": pool, "size": 16})


def test_only_the_contrastive_recipe_leaves_the_gradient_uncut_unless_told(world: World) -> None:
    assert {kind: getattr(recipe, "gradient_clip", "none") for kind, recipe in RECIPES.items()} == {
        "cross_entropy": 1.0,
        "contrastive": None,
        "head_only": "none",
        "lora": 1.0,
        "learned_prompts": 1.0,
        "two_stage": 1.0,
    }
    free = Contrastive(epochs=2, batch_size=8, learning_rates=(3e-3,))
    results = [adapted(world, free.model_copy(update={"gradient_clip": clip})) for clip in (None, 1e6, 1e-12)]
    uncut, never_reached, tiny = [weights_of(world, result) for result in results]
    assert all(torch.equal(uncut[name], never_reached[name]) for name in uncut)
    assert any(not torch.equal(uncut[name], tiny[name]) for name in uncut)


@every_recipe
def test_class_without_images_stops_no_recipe(world: World, kind: str) -> None:
    request = request_without_blue(world, RECIPES[kind])
    assert adapt_encoder(request, world.tools, progress()).weights is not None


def test_class_without_images_keeps_its_text_in_the_mixed_head(world: World) -> None:
    result = adapt_encoder(request_without_blue(world, HeadOnly(mixing_weights=(1.0,))), world.tools, progress())
    heads = weights_of(world, result)["head.weight"], untouched_weights(world)["head.weight"]
    cosine = torch.cosine_similarity(*heads)
    assert float(cosine[2]) == pytest.approx(1, abs=1e-5)
    assert float(cosine[:2].max()) < 0.99


def test_run_without_a_learning_rate_is_refused_where_one_is_needed(world: World) -> None:
    request = request_for(world, RECIPES["lora"]).model_copy(update={"learning_rate": None})
    with pytest.raises(Invalid) as refused:
        adapt_encoder(request, world.tools, progress())
    assert refused.value.code == "learning_rate_missing"


def test_context_vectors_stand_before_the_name_and_too_many_are_refused(world: World) -> None:
    encoder = world.tools.encoder(world.encoder)
    plain, (tokens, start) = encoder.tokenize(["green"]), tokens_with_room(encoder, ["green"], 3)
    assert start == 1  # after the start token
    assert tokens[0, 4:].tolist() == plain[0, 1:-3].tolist()
    with pytest.raises(Invalid) as refused:
        tokens_with_room(encoder, ["green"], 14)
    assert refused.value.code == "context_too_long"


def test_embeddings_of_the_start_words_as_context_give_the_head_of_those_words(world: World) -> None:
    encoder = world.tools.encoder(world.encoder)
    learner = PromptLearner(subject_of(world), vectors=3, seed=0)
    words = encoder.tokenize(["a photo of"])[0, 1:4]
    with torch.no_grad():
        learner.context.copy_(encoder.model.token_embedding(words))
        texts = encoder.tokenize([f"a photo of {label.display_name}" for label in CLASSES])
        expected = encoder.model.logit_scale.exp() * encoder.model.encode_text(texts, normalize=True)
        assert torch.allclose(learner.head_weight(), expected, atol=1e-4)


@pytest.mark.parametrize("architecture", ["resnet", *ARCHITECTURES])
def test_learned_prompts_without_an_update_are_zero_shot_with_the_template_they_start_from(
    tmp_path: Path, architecture: str
) -> None:
    world = World(tmp_path, partial(tiny_encoder, model_config=ARCHITECTURES.get(architecture, MODEL_CONFIG)))
    split = world.tools.split(world.splits["test"], world.encoder, len(CLASSES))
    subject = replace(subject_of(world), templates=("{name}", *TEMPLATES))  # the first has nothing before the name
    zero_shot = world.tools.classifier(world.encoder, CLASSES, TEMPLATES[:1])
    expected = predict(zero_shot.head, embed_split(zero_shot, split))
    learner = PromptLearner(subject, vectors=None, seed=0)
    assert learner.context.shape[0] == 4  # a photo of a
    set_weights(subject.classifier, learner.weights())
    assert torch.allclose(subject.classifier.head.weight, zero_shot.head.weight, atol=1e-4)
    found = predict(subject.classifier.head, embed_split(subject.classifier, split))
    assert len(found) == 21
    assert accuracy(found, split.class_ids) == accuracy(expected, split.class_ids)
    assert found.tolist() == expected.tolist()


def test_a_template_without_words_before_the_name_leaves_nothing_to_start_from(world: World) -> None:
    subject = replace(subject_of(world), templates=("{name}", "{name} on a photo"))
    with pytest.raises(Invalid, match="give context_vectors") as refused:
        PromptLearner(subject, vectors=None, seed=0)
    assert refused.value.code == "no_context_words"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_recipe_adapts_every_architecture(tmp_path: Path, architecture: str) -> None:
    world = World(tmp_path, partial(tiny_encoder, model_config=ARCHITECTURES[architecture]))
    for recipe in RECIPES.values():
        short = recipe if isinstance(recipe, HeadOnly) else recipe.model_copy(update={"epochs": 1})
        adaptation = world.adapted(request_for(world, short))
        tested = evaluate_encoder(world.evaluate_request(adaptation), world.tools, progress())
        assert set(tested.predictions) == {"zero_shot", "linear_probe"}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_untouched_head_agrees_with_open_clips_own_logits(tmp_path: Path, architecture: str) -> None:
    world = World(tmp_path, partial(tiny_encoder, model_config=ARCHITECTURES[architecture]))
    encoder = world.tools.encoder(world.encoder)
    classifier = world.tools.classifier(world.encoder, CLASSES, TEMPLATES[:1])
    texts = encoder.tokenize([TEMPLATES[0].replace("{name}", label.display_name) for label in CLASSES])
    pixels = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    inputs = (pixels.float() - classifier.mean) / classifier.std
    with torch.no_grad():
        logits, _ = encoder.model.get_logits(inputs, texts)
        bias = 0 if encoder.model.logit_bias is None else encoder.model.logit_bias
        assert torch.allclose(classifier(pixels) + bias, logits, atol=1e-3)
