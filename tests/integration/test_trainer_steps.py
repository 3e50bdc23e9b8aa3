"""The trainer's handlers end to end on a tiny encoder and coloured squares, with the object store in memory."""

import io
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.trainer_world import CLASSES, RECIPE, SPLITS, TEMPLATES, World, progress, square
from touchstone_contracts.adaptation import Evaluation, RegularisedProbe
from touchstone_contracts.keys import blob_key
from touchstone_contracts.problems import Cancelled, Invalid
from touchstone_contracts.recipes import Recipe
from touchstone_contracts.recipes.cross_entropy import CrossEntropy
from touchstone_contracts.recipes.head_only import HeadOnly
from touchstone_contracts.steps import ADAPT_ENCODER, INGEST_IMAGES, EncoderAdapted, ProbeSources
from touchstone_contracts.values import StepId
from touchstone_runtime.caches import ByteCache
from touchstone_runtime.decoding import decode_image
from touchstone_trainer.pixels import decoded_images, evaluation_pixels
from touchstone_trainer.prefetch import Loader
from touchstone_trainer.recipes.loop import Diverged
from touchstone_trainer.tasks import adapt_encoder, evaluate_encoder, handlers, probe_sources
from touchstone_trainer.tools import Tools, build_tools


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("library"))


def test_every_contract_of_the_queue_is_served() -> None:
    handlers.require_complete()
    assert set(handlers.by_kind) == {"adapt_encoder", "evaluate_encoder", "probe_sources"}


def test_adaptation_learns_and_the_test_is_better_than_untouched(world: World) -> None:
    adaptation = world.adapted(world.adapt_request(world.pool(30), size=30))
    result = world.artifacts.result(ADAPT_ENCODER, adaptation.step)
    assert result.available == 30
    assert result.updates == 24
    assert result.peak_lr_fraction == 1.0
    assert [score.epoch for score in result.epochs] == [1, 2, 3, 4, 5, 6]
    assert result.epochs[-1].train_loss < result.epochs[0].train_loss
    best = max(score.validation_accuracy for score in result.epochs)
    assert result.epochs[result.best_epoch - 1].validation_accuracy == best
    assert all(score.validation_accuracy < best for score in result.epochs[: result.best_epoch - 1])
    before = evaluate_encoder(world.evaluate_request(), world.tools, progress())
    after = evaluate_encoder(world.evaluate_request(adaptation), world.tools, progress())
    assert after.predictions["zero_shot"].accuracy > before.predictions["zero_shot"].accuracy
    assert after.validation_accuracy == best
    assert (after.learning_rate, after.best_epoch) == (3e-3, result.best_epoch)
    assert after.training_set == result.training_set


def test_same_adaptation_twice_gives_the_same_weight_bytes(world: World) -> None:
    request = world.adapt_request(world.pool(24))
    first = adapt_encoder(request, world.tools, progress())
    torch.rand(5)  # other randomness in between must not matter
    fresh = build_tools(world.settings, world.artifacts)
    assert adapt_encoder(request, fresh, progress()) == first
    assert first.weights is not None


def where_nothing_fits(world: World, loader: Loader) -> Tools:
    """A worker that may hold one byte of everything."""
    tools = build_tools(world.settings, world.artifacts)
    return replace(
        tools, decoded=decoded_images(1), splits=ByteCache(1, lambda images: images.pixels.nbytes), loader=loader
    )


@pytest.mark.parametrize("loader", [Loader(threads=3), Loader(processes=2)])
@pytest.mark.parametrize("recipe", [RECIPE.model_copy(update={"epochs": 2}), HeadOnly()])
def test_sets_that_do_not_fit_into_memory_give_the_same_weights_and_predictions(
    tmp_path: Path, recipe: Recipe, loader: Loader
) -> None:
    # Two worlds: features that one worker stored would be taken by the other.
    held, streamed = World(tmp_path / "held"), World(tmp_path / "streamed")
    streamed.tools = where_nothing_fits(streamed, loader)
    found = []
    for world in (held, streamed):
        rate = None if isinstance(recipe, HeadOnly) else 3e-3
        request = world.adapt_request(world.pool(24), recipe=recipe, learning_rate=rate)
        run = world.adapted(request)
        found.append(
            [
                world.artifacts.result(ADAPT_ENCODER, run.step),
                evaluate_encoder(world.evaluate_request(run), world.tools, progress()),
                evaluate_encoder(world.evaluate_request(), world.tools, progress()),
            ]
        )
    assert found[0] == found[1]
    assert (len(streamed.tools.decoded), len(streamed.tools.splits)) == (0, 0)


def test_features_of_the_untouched_encoder_are_computed_by_the_first_worker_alone(tmp_path: Path) -> None:
    world = World(tmp_path)
    request = world.evaluate_request()
    first = evaluate_encoder(request, world.tools, progress())
    for split in world.splits.values():
        for shard in world.artifacts.result(INGEST_IMAGES, split).images.shards:
            world.objects.remove(blob_key(shard.digest))  # nobody needs to look at an image again
    another = build_tools(world.settings, world.artifacts)
    assert evaluate_encoder(request, another, progress()) == first
    other_seed = request.model_copy(update={"seed": 1})
    assert evaluate_encoder(other_seed, another, progress()).labels == first.labels


def test_damaged_features_are_computed_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    first = evaluate_encoder(world.evaluate_request(), world.tools, progress())
    stored = list(world.objects.listed("derived/"))
    assert len(stored) == 3  # train, validation, test
    for each in stored:
        data = world.objects.get(each.key)
        world.objects.put(each.key, data[:-1] + bytes([data[-1] ^ 1]))
    again = evaluate_encoder(world.evaluate_request(), build_tools(world.settings, world.artifacts), progress())
    assert again == first


def test_features_of_an_adapted_encoder_are_its_own(world: World) -> None:
    before = len(list(world.objects.listed("derived/")))
    run = world.adapted(world.adapt_request(world.pool(30), size=30, seed=9))
    adapted = evaluate_encoder(world.evaluate_request(run, seed=9), world.tools, progress())
    untouched = evaluate_encoder(world.evaluate_request(), world.tools, progress())
    assert adapted.predictions["linear_probe"] != untouched.predictions["linear_probe"]
    assert len(list(world.objects.listed("derived/"))) <= max(before, 3)


def test_adaptation_leaves_the_shared_encoder_untouched(world: World) -> None:
    loaded = world.tools.encoder(world.encoder)
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    adapt_encoder(world.adapt_request(world.pool(24), seed=7), world.tools, progress())
    assert len(before) > 10
    assert all(torch.equal(value, before[name]) for name, value in loaded.model.state_dict().items())


def test_seeds_and_learning_rates_give_different_weights_of_nested_or_equal_sets(world: World) -> None:
    pool = world.pool(24)
    short = RECIPE.model_copy(update={"epochs": 1})
    results = [
        adapt_encoder(world.adapt_request(pool, seed=seed, learning_rate=rate, recipe=short), world.tools, progress())
        for seed, rate in ((0, 1e-3), (0, 3e-3), (1, 1e-3))
    ]
    assert len({result.weights.digest for result in results if result.weights}) == 3
    assert results[0].training_set == results[1].training_set != results[2].training_set


def test_a_draw_of_its_own_holds_the_training_set_while_the_seed_decides_the_rest(world: World) -> None:
    short, pool = RECIPE.model_copy(update={"epochs": 1}), world.pool(24)

    def adapted(seed: int, draw: int | None) -> EncoderAdapted:
        request = world.adapt_request(pool, seed=seed, recipe=short).model_copy(update={"draw_seed": draw})
        return adapt_encoder(request, world.tools, progress())

    own, held, as_named = adapted(0, None), adapted(1, 0), adapted(0, 0)
    assert held.training_set == own.training_set
    assert held.weights != own.weights
    assert as_named == own
    assert adapted(0, 1).training_set == adapted(1, None).training_set != own.training_set


@pytest.mark.parametrize("kept", [0, 19])
def test_pool_smaller_than_the_size_is_an_exhausted_result(world: World, kept: int) -> None:
    request = world.adapt_request(world.pool(kept), size=20)
    adaptation = world.adapted(request)
    result = world.artifacts.result(ADAPT_ENCODER, adaptation.step)
    assert (result.available, result.weights, result.epochs) == (kept, None, ())
    evaluated = evaluate_encoder(world.evaluate_request(adaptation), world.tools, progress())
    assert (evaluated.available, evaluated.predictions, evaluated.labels) == (kept, {}, None)


def test_untouched_encoder_is_tested_with_its_text_head(world: World) -> None:
    result = evaluate_encoder(world.evaluate_request(), world.tools, progress())
    assert (result.learning_rate, result.best_epoch, result.training_set, result.available) == (None,) * 4
    assert result.validation_accuracy is not None
    assert set(result.predictions) == {"zero_shot", "linear_probe"}
    arrays = world.arrays(result)
    assert arrays["labels"].tolist() == [row % 3 for row in range(SPLITS["test"])]
    assert all(array.dtype == np.int32 and array.shape == (SPLITS["test"],) for array in arrays.values())
    for metric in result.predictions:
        assert result.predictions[metric].accuracy == (arrays[metric] == arrays["labels"]).mean()


def test_every_test_set_is_measured_with_the_same_heads(world: World) -> None:
    plain = world.evaluate_request()
    other = world.ingested("train", 9)
    both = evaluate_encoder(plain.model_copy(update={"further_tests": {"sketch": other}}), world.tools, progress())
    alone = evaluate_encoder(plain.model_copy(update={"test": other}), world.tools, progress())
    main = evaluate_encoder(plain, world.tools, progress())
    assert both.model_copy(update={"further_tests": {}}) == main
    sketch = both.tests["sketch"]
    assert (sketch.predictions, sketch.labels) == (alone.predictions, alone.labels)
    assert set(sketch.predictions) == {"zero_shot", "linear_probe"}
    assert sketch.labels != main.labels


def test_untouched_predictions_agree_with_open_clip_itself(world: World) -> None:
    encoder = world.tools.encoder(world.encoder)
    images = [square(row % 3, 1100 + row) for row in range(SPLITS["test"])]  # any images: the head is what counts
    pixels = torch.stack([encoder.preprocess(decode_image(image)) for image in images])
    with torch.inference_mode():
        texts = [t.replace("{name}", c.display_name) for c in CLASSES for t in TEMPLATES]
        vectors = encoder.model.encode_text(encoder.tokenize(texts), normalize=True)
        heads = torch.nn.functional.normalize(vectors.view(3, 2, -1).mean(1), dim=-1)
        features = encoder.model.encode_image(pixels, normalize=True)
        expected = encoder.model.logit_scale.exp() * features @ heads.T
        exact = torch.stack([evaluation_pixels(encoder, image) for image in images])
        found = world.tools.classifier(world.encoder, CLASSES, TEMPLATES)(exact)
    assert torch.allclose(found, expected, atol=1e-4)


def test_undone_normalisation_gives_back_the_exact_pixels(world: World) -> None:
    encoder = world.tools.encoder(world.encoder)
    exact = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    exact.save(buffer, "PNG")
    pixels = evaluation_pixels(encoder, buffer.getvalue())
    assert np.array_equal(pixels.permute(1, 2, 0).numpy(), np.asarray(exact))


def test_linear_probe_learns_from_real_images_and_repeats_by_seed(world: World) -> None:
    results = [
        evaluate_encoder(world.evaluate_request(seed=seed, train=train), world.tools, progress())
        for seed, train in ((0, True), (0, True), (1, True), (0, False))
    ]
    assert results[0] == results[1]
    assert all(result.predictions["linear_probe"].accuracy > 0.5 for result in results)
    zero_shot = {result.predictions["zero_shot"].classes.digest for result in results}
    assert len(zero_shot) == 1


def test_only_the_asked_metrics_are_measured(world: World) -> None:
    request = world.evaluate_request().model_copy(update={"evaluation": Evaluation(metrics=("zero_shot",))})
    assert set(evaluate_encoder(request, world.tools, progress()).predictions) == {"zero_shot"}


def probe_request(world: World, *pools: StepId, sizes: tuple[int, int] = (20, 20)) -> ProbeSources:
    runs = [
        (world.adapted(world.adapt_request(pool, size=size, recipe=RECIPE.model_copy(update={"epochs": 1}))),)
        for pool, size in zip(pools, sizes, strict=True)
    ]
    return ProbeSources(
        pools=(pools[0], pools[1]),
        adaptations=(runs[0], runs[1]),
        seed=0,
        encoder=world.encoder,
        classes=CLASSES,
        templates=TEMPLATES,
        test=world.splits["test"],
    )


def test_two_pools_are_probed_with_the_untouched_encoder_and_those_adapted_on_them(world: World) -> None:
    request = probe_request(world, world.pool(60), world.pool(60, first=400))
    probe = probe_sources(request, world.tools, progress()).probe
    assert probe is not None
    assert probe.images == 60
    assert 0.2 < probe.auc < 0.8  # squares of both pools are drawn alike
    evaluated = evaluate_encoder(world.evaluate_request(), world.tools, progress())
    assert probe.untouched is not None
    assert probe.untouched.accuracy == pytest.approx(evaluated.predictions["zero_shot"].accuracy, abs=1e-6)
    for adapted, grid in zip(probe.adapted, request.adaptations, strict=True):
        assert adapted is not None
        tested = evaluate_encoder(world.evaluate_request(*grid), world.tools, progress())
        assert adapted.accuracy == pytest.approx(tested.predictions["zero_shot"].accuracy, abs=1e-6)
        assert adapted.random_low <= adapted.random_high
        assert 1 / 201 <= adapted.p_value <= 1
    assert probe_sources(request, world.tools, progress()).probe == probe


def test_images_that_both_pools_have_are_left_out_of_the_probe(world: World) -> None:
    overlapping = probe_request(world, world.pool(60), world.pool(60, first=30))
    probe = probe_sources(overlapping, world.tools, progress()).probe
    assert probe is not None
    assert probe.images == 30
    assert probe_sources(probe_request(world, world.pool(24), world.pool(60)), world.tools, progress()).probe is None


def test_an_arm_that_did_not_reach_the_size_is_left_out_of_the_probe(world: World) -> None:
    request = probe_request(world, world.pool(60), world.pool(24, first=400), sizes=(20, 50))
    probe = probe_sources(request, world.tools, progress()).probe
    assert probe is not None
    assert [adapted is None for adapted in probe.adapted] == [False, True]


def test_grid_is_decided_on_validation_and_each_seed_tests_its_own_run(world: World) -> None:
    pool = world.pool(24)
    grid = [
        world.adapted(world.adapt_request(pool, seed=seed, learning_rate=rate, recipe=RECIPE))
        for rate in (1e-8, 3e-3)
        for seed in (0, 1)
    ]
    results = [evaluate_encoder(world.evaluate_request(*grid, seed=seed), world.tools, progress()) for seed in (0, 1)]
    assert [result.learning_rate for result in results] == [3e-3, 3e-3]
    assert results[0].training_set != results[1].training_set


def test_diverged_run_is_not_tried_again(world: World) -> None:
    # Beyond what a request may ask for: nothing within it is sure to diverge in three epochs.
    far_too_much = {"gradient_clip": math.sqrt(3e38), "weight_decay": 1e38}
    recipe = CrossEntropy(epochs=3, batch_size=8).model_copy(update=far_too_much)
    request = world.adapt_request(world.pool(24), learning_rate=1.0, recipe=recipe)
    with pytest.raises(Diverged) as refused:
        adapt_encoder(request, world.tools, progress())
    assert refused.value.code == "diverged"
    assert isinstance(refused.value, Invalid)


def test_labels_outside_the_target_are_refused_in_pool_and_splits(world: World) -> None:
    requests = [
        world.adapt_request(world.pool(24, classes=4)),
        world.adapt_request(world.pool(24), validation=world.ingested("validation", 8, classes=4)),
    ]
    for request in requests:
        with pytest.raises(Invalid) as refused:
            adapt_encoder(request, world.tools, progress())
        assert refused.value.code == "class_out_of_range"


def test_empty_split_is_refused(world: World) -> None:
    request = world.adapt_request(world.pool(24), validation=world.ingested("validation", 0))
    with pytest.raises(Invalid) as refused:
        adapt_encoder(request, world.tools, progress())
    assert refused.value.code == "empty_split"


def test_cancelled_run_stops_at_the_next_update(world: World) -> None:
    with pytest.raises(Cancelled):
        adapt_encoder(world.adapt_request(world.pool(24)), world.tools, progress(cancelled=True))


@pytest.mark.parametrize("precision", ["bf16"])
def test_reduced_precision_trains_too(world: World, precision: str) -> None:
    recipe = RECIPE.model_copy(update={"precision": precision, "epochs": 1})
    result = adapt_encoder(world.adapt_request(world.pool(24), recipe=recipe), world.tools, progress())
    assert math.isfinite(result.epochs[0].train_loss)


def test_regularised_probe_is_chosen_on_validation_and_repeats(world: World) -> None:
    evaluation = Evaluation(metrics=("regularised_probe",), regularised_probe=RegularisedProbe(values=13))
    request = world.evaluate_request().model_copy(update={"evaluation": evaluation})
    results = [evaluate_encoder(request, world.tools, progress()) for _ in range(2)]
    assert results[0] == results[1]
    measured = results[0].predictions["regularised_probe"]
    assert measured.accuracy > 0.5
    assert measured.regularisation is not None
    assert 1e-6 <= measured.regularisation <= 1e6


def test_regularised_probe_without_a_train_split_is_refused(world: World) -> None:
    evaluation = Evaluation(metrics=("regularised_probe",))
    request = world.evaluate_request(train=False).model_copy(update={"evaluation": evaluation})
    with pytest.raises(Invalid, match="train split"):
        evaluate_encoder(request, world.tools, progress())


def test_every_metric_carries_macro_top_five_and_calibration(world: World) -> None:
    result = evaluate_encoder(world.evaluate_request(), world.tools, progress())
    assert len(result.predictions) == 2
    for measured in result.predictions.values():
        assert measured.macro_accuracy is not None
        assert measured.top5_accuracy == 1.0  # three classes
        assert measured.calibration_error is not None
        assert 0 <= measured.calibration_error <= 1
