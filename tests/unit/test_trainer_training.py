"""Schedules, crops, weights, selection and memory: the parts of a run, without a run."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms.functional import resized_crop, to_pil_image
from touchstone_contracts.layout import Adaptation
from touchstone_contracts.problems import Invalid
from touchstone_contracts.recipes.cross_entropy import CrossEntropy
from touchstone_contracts.steps import EncoderAdapted, EpochScore
from touchstone_contracts.values import Blob
from touchstone_trainer.augmentation import Boxes, crop_and_resize, draw_crop_boxes
from touchstone_trainer.checkpoints import copy_weights, dump_weights, load_weights
from touchstone_trainer.classifier import ImageClassifier
from touchstone_trainer.evaluation.selection import Candidate, select_run
from touchstone_trainer.pixels import TrainingImages, cropped_batches, require_classes
from touchstone_trainer.prefetch import Loader
from touchstone_trainer.schedules import warmup_cosine, warmup_length


def test_paper_schedule_with_1000_images_peaks_at_12_percent() -> None:
    recipe = CrossEntropy(warmup_fraction=1.0)
    updates = recipe.epochs * 2  # 1,000 images in batches of 512
    assert max(warmup_cosine(updates, warmup_length(recipe, updates))) == pytest.approx(0.12)


def test_default_warmup_is_a_tenth_of_a_short_run_and_500_of_a_long_one() -> None:
    assert warmup_length(CrossEntropy(), 60) == 6
    assert warmup_length(CrossEntropy(), 50_000) == 500


@pytest.mark.parametrize("updates", [1, 7, 100])
@pytest.mark.parametrize("warmup", [0, 1, 5, 100, 500])
def test_learning_rate_rises_linearly_then_falls_towards_zero(updates: int, warmup: int) -> None:
    fractions = np.array(warmup_cosine(updates, warmup))
    assert len(fractions) == updates
    assert ((fractions > 0) & (fractions <= 1)).all()
    assert (np.diff(fractions[:warmup]) > 0).all()
    assert (np.diff(fractions[max(warmup, 1) :]) < 0).all()
    if updates == 100 and warmup == 5:
        assert fractions[4:6].tolist() == [1.0, 1.0]
        assert fractions[-1] < 0.001


@pytest.mark.parametrize(("height", "width"), [(64, 64), (40, 90), (20, 200)])
@pytest.mark.parametrize("crop_scale", [0.9, 0.2])
def test_crop_boxes_are_distributed_as_torchvisions(height: int, width: int, crop_scale: float) -> None:
    count = 3000
    boxes = draw_crop_boxes(
        np.full(count, height), np.full(count, width), crop_scale, np.random.default_rng(height + width)
    )
    assert (boxes.top >= 0).all()
    assert (boxes.left >= 0).all()
    assert (boxes.top + boxes.height <= height).all()
    assert (boxes.left + boxes.width <= width).all()
    torch.manual_seed(0)
    image = torch.zeros(3, height, width)
    theirs = np.array([RandomResizedCrop.get_params(image, (crop_scale, 1.0), (3 / 4, 4 / 3)) for _ in range(count)])
    ours = np.stack(boxes, axis=1)
    spread = np.maximum(theirs.std(axis=0), 0.5)
    assert np.abs(ours.mean(axis=0) - theirs.mean(axis=0)).max() < 5 * spread.max() / np.sqrt(count)
    assert np.abs(ours.std(axis=0) - theirs.std(axis=0)).max() < 0.1 * spread.max()


def test_crop_equals_pillows_bicubic_within_a_grey_level_or_two() -> None:
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 64, 64), dtype=np.uint8))
    boxes = Boxes(*(np.array([value]) for value in (3, 2, 58, 60)))
    ours = crop_and_resize(pixels, boxes, 0, 48)
    theirs = resized_crop(to_pil_image(pixels), 3, 2, 58, 60, [48, 48], InterpolationMode.BICUBIC)
    difference = np.abs(ours.permute(1, 2, 0).numpy().astype(int) - np.asarray(theirs).astype(int))
    assert ours.dtype == torch.uint8
    assert difference.max() <= 2


def encoded(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (value, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("loader", [Loader(threads=1), Loader(threads=3), Loader(processes=2)])
def test_batches_hold_the_images_asked_for_in_their_order_and_decode_on_demand(loader: Loader) -> None:
    images: list[torch.Tensor | bytes] = [encoded(value) for value in range(7)]
    images[2] = torch.zeros(3, 8, 8, dtype=torch.uint8).index_fill_(0, torch.tensor([0]), 2)
    training = TrainingImages(images, np.arange(7) % 3, np.full(7, 8), np.full(7, 8))
    order = np.array([6, 0, 2, 5, 1, 3, 4])
    boxes = draw_crop_boxes(training.heights, training.widths, 0.9, np.random.default_rng(0))
    before = torch.random.get_rng_state()
    batches = list(cropped_batches(training, [order[:3], order[3:6], order[6:]], boxes, image_size=4, loader=loader))
    assert torch.equal(torch.random.get_rng_state(), before)  # drop-out draws from it
    assert [len(pixels) for pixels in batches] == [3, 3, 1]
    assert torch.cat([pixels[:, 0, 0, 0] for pixels in batches]).tolist() == order.tolist()


def small_classifier(classes: int = 3) -> ImageClassifier:
    torch.manual_seed(0)
    tower = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten(1))
    return ImageClassifier(tower, torch.nn.Linear(16, classes), (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))


def test_weights_travel_as_the_same_safetensors_bytes() -> None:
    classifier = small_classifier()
    data = dump_weights(copy_weights(classifier))
    other = small_classifier()
    with torch.no_grad():
        other.head.bias.fill_(7)
    load_weights(other, data)
    assert dump_weights(copy_weights(other)) == data
    assert {name.split(".")[0] for name in copy_weights(other)} == {"tower", "head"}


def test_snapshot_does_not_change_when_training_goes_on() -> None:
    classifier = small_classifier()
    weights = copy_weights(classifier)
    with torch.no_grad():
        classifier.head.bias.fill_(7)
    assert (weights["head.bias"] != 7).all()


def test_weights_of_another_shape_are_refused() -> None:
    data = dump_weights(copy_weights(small_classifier(classes=4)))
    with pytest.raises(Invalid) as refused:
        load_weights(small_classifier(classes=3), data)
    assert refused.value.code == "weights_mismatch"


def test_batch_norm_keeps_its_statistics_while_training() -> None:
    classifier = small_classifier()
    before = {name: value for name, value in copy_weights(classifier).items() if "running" in name}
    classifier.train()
    classifier(torch.randint(0, 256, (1, 3, 4, 4), dtype=torch.uint8))
    after = copy_weights(classifier)
    assert len(before) == 2
    assert all(torch.equal(after[name], value) for name, value in before.items())


def candidate(rate: float, seed: int, *validation: float) -> Candidate:
    blob = Blob(digest="0" * 64, size=1)
    epochs = tuple(
        EpochScore(epoch=n + 1, train_loss=1.0, validation_accuracy=value) for n, value in enumerate(validation)
    )
    step = Adaptation(learning_rate=rate, seed=seed, step="1" * 64)
    return Candidate(step, EncoderAdapted(available=9, weights=blob, epochs=epochs))


def test_learning_rate_is_chosen_by_the_mean_over_seeds_of_the_best_epoch() -> None:
    grid = [candidate(0.1, 0, 0.9, 0.1), candidate(0.1, 1, 0.2), candidate(0.01, 0, 0.6), candidate(0.01, 1, 0.1, 0.6)]
    for seed in (0, 1):
        chosen = select_run(grid, seed).adaptation
        assert (chosen.learning_rate, chosen.seed) == (0.01, seed)


def test_of_equal_learning_rates_the_smaller_is_chosen() -> None:
    grid = [candidate(0.1, 0, 0.5), candidate(0.01, 0, 0.5), candidate(0.05, 0, 0.5)]
    assert select_run(grid, 0).adaptation.learning_rate == 0.01


def test_grid_without_the_seed_is_refused() -> None:
    with pytest.raises(Invalid) as refused:
        select_run([candidate(0.1, 0, 0.5)], 3)
    assert refused.value.code == "grid_incomplete"


@pytest.mark.parametrize("class_ids", [[0, 1, 3], [-1, 0]])
def test_labels_outside_the_target_are_refused(class_ids: list[int]) -> None:
    with pytest.raises(Invalid) as refused:
        require_classes(np.array(class_ids), 3, "a split")
    assert refused.value.code == "class_out_of_range"
