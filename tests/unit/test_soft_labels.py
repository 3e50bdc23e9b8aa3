"""Labels by weight and mixed labels: what the loss sees, who may ask for it, and which plans do not notice."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from support.specs import resolved
from touchstone_contracts.arms.generation import Generation
from touchstone_contracts.arms.mixture import Count, Mixing, Mixture, Part, Share
from touchstone_contracts.arms.retrieval import Retrieval
from touchstone_contracts.identity import identity
from touchstone_contracts.problems import Invalid
from touchstone_contracts.recipes.class_labels import CutMix, MixUp
from touchstone_contracts.recipes.contrastive import Contrastive
from touchstone_contracts.recipes.cross_entropy import CrossEntropy
from touchstone_planning.arms.planner import planner_of
from touchstone_planning.fairness import check_fair
from touchstone_planning.resolved import ResolvedExperiment
from touchstone_trainer.soft_labels import loss_weights, mixed, weighed

PIXELS = torch.arange(4, dtype=torch.uint8).mul(50)[:, None, None, None].expand(4, 3, 20, 20).clone()
LABELS = torch.tensor([0, 1, 2, 0])
HALVES = (Share(share=0.5), Share(share=0.5))


def test_a_cutmix_label_is_the_share_of_the_pixels_that_are_of_that_class() -> None:
    for number in range(20):
        pixels, labels = mixed(PIXELS, LABELS, CutMix(), 3, "test", number)
        own = (pixels == PIXELS).float().mean(dim=(1, 2, 3))
        assert pixels.dtype == torch.uint8
        assert torch.allclose(labels.sum(dim=1), torch.ones(4))
        assert torch.allclose(labels[1:].gather(1, LABELS[1:, None])[:, 0], own[1:], atol=1e-6)
        assert labels[0, 0] == pytest.approx(1)  # the image before the first is the last, of the same class


def test_mixup_averages_images_as_it_averages_labels() -> None:
    pixels, labels = mixed(PIXELS, LABELS, MixUp(alpha=1.0), 3, "test")
    share = labels[1, 1]
    assert 0 < share < 1
    assert torch.allclose(pixels[1], 50 * share.expand(3, 20, 20))


def test_the_same_purpose_mixes_alike_whatever_was_drawn_before_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = mixed(PIXELS, LABELS, CutMix(), 3, "test", 1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    assert all(
        torch.equal(one, two) for one, two in zip(first, mixed(PIXELS, LABELS, CutMix(), 3, "test", 1), strict=True)
    )
    assert not torch.equal(first[1], mixed(PIXELS, LABELS, CutMix(), 3, "test", 2)[1])


def test_a_batch_is_mixed_as_often_as_asked() -> None:
    rounds = [mixed(PIXELS, LABELS, CutMix(probability=0.3), 3, number)[1] for number in range(300)]
    assert sum(labels.ndim == 2 for labels in rounds) / len(rounds) == pytest.approx(0.3, abs=0.08)


def test_weights_follow_the_part_of_an_image_and_average_to_one() -> None:
    mixing = Mixing(mode="fixed_total", amounts=HALVES, loss_weights=(3.0, 1.0))
    weights = loss_weights(np.array([0, 0, 1, 1]), mixing)
    assert weights is not None
    assert weights.tolist() == [1.5, 1.5, 0.5, 0.5]
    assert loss_weights(np.array([0, 1]), Mixing(mode="fixed_total", amounts=HALVES)) is None
    assert loss_weights(np.array([-1, -1]), None) is None


def test_the_cross_entropy_of_weighed_labels_is_the_weighed_cross_entropy() -> None:
    logits, weights = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), np.array([2, 0.5, 1, 0.5], "f4")
    each = torch.nn.functional.cross_entropy(logits, LABELS, reduction="none")
    found = torch.nn.functional.cross_entropy(logits, weighed(LABELS, weights, 3))
    assert float(found) == pytest.approx(float((each * torch.from_numpy(weights)).mean()), rel=1e-6)


def mixture(*weights: float) -> Mixture:
    parts = (Part(arm="real", amount=HALVES[0]), Part(arm="fake", amount=HALVES[1]))
    pairs = zip(parts, weights, strict=True)
    return Mixture(name="both", parts=tuple(part.model_copy(update={"loss_weight": weight}) for part, weight in pairs))


def experiment(arm: Mixture, recipe: CrossEntropy | Contrastive) -> ResolvedExperiment:
    others = (Retrieval(name="real"), Generation(name="fake", generator="diffusion", images=300))
    return resolved(arms=(*others, arm), sizes=(6,), recipe=recipe)


def test_equal_weights_are_no_weights() -> None:
    assert mixture(2, 2).mixing == mixture(1, 1).mixing
    assert identity(mixture(1, 1).mixing) == identity(Mixing(mode="fixed_total", amounts=HALVES))
    assert "loss_weights" not in mixture(1, 1).mixing.model_dump()
    assert mixture(1, 2).mixing.loss_weights == (1, 2)
    assert planner_of(mixture(1, 2)).describe(mixture(1, 2)) == "a mixture of 50% of real, 50% of fake, loss weight 2"


def test_weights_are_refused_where_the_recipe_would_not_use_them() -> None:
    check_fair(experiment(mixture(1, 2), CrossEntropy()))
    check_fair(experiment(mixture(2, 2), Contrastive()))
    with pytest.raises(Invalid) as refused:
        check_fair(experiment(mixture(1, 2), Contrastive()))
    (error,) = refused.value.errors
    assert error.pointer == "/arms/2/parts"
    assert "contrastive cannot weigh images, only cross_entropy, lora" in error.detail


@pytest.mark.parametrize("weight", [0, -1, 1001])
def test_a_weight_is_a_positive_number(weight: float) -> None:
    with pytest.raises(ValidationError):
        Part(arm="real", amount=Count(images=1), loss_weight=weight)


def test_recipes_without_class_labels_know_no_mixed_ones() -> None:
    with pytest.raises(ValidationError, match="batch_augmentation"):
        Contrastive.model_validate({"batch_augmentation": {"kind": "cutmix"}})
    with pytest.raises(ValidationError, match="alpha"):
        CutMix(alpha=0)


def test_a_recipe_without_mixed_batches_is_written_and_named_as_before() -> None:
    assert "batch_augmentation" not in CrossEntropy().model_dump(mode="json")
    assert identity(CrossEntropy(batch_augmentation=None)) == identity(CrossEntropy())
    assert identity(CrossEntropy(batch_augmentation=CutMix())) != identity(CrossEntropy())
