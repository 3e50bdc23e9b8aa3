"""Probes against scikit-learn and PyTorch's own optimizer."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn
from touchstone_contracts.adaptation import LinearProbe
from touchstone_contracts.identity import derive_seed
from touchstone_runtime.randomness import rng_for
from touchstone_trainer.evaluation.linear_probe import BETAS, fit_linear_probe
from touchstone_trainer.evaluation.regularisation_path import fit_path, lagrange, select_value, solving_order
from touchstone_trainer.schedules import warmup_cosine

CLASSES, DIMENSION = 5, 12
VALUES = np.geomspace(1e-4, 1e4, 17)


def problem(images: int, noise: float = 0.6, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """L2-normalised features around class centres with a common mean, as encoders give them."""
    rng = np.random.default_rng(0)
    centres = 1 + rng.normal(size=(CLASSES, DIMENSION))
    rng = np.random.default_rng(seed)
    labels = np.arange(images) % CLASSES
    features = centres[labels] + noise * rng.normal(size=(images, DIMENSION))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return torch.from_numpy(features.astype(np.float32)), torch.from_numpy(labels)


def objective(weights: np.ndarray, biases: np.ndarray, features: torch.Tensor, labels: torch.Tensor, c: float) -> float:
    logits = torch.from_numpy(features.numpy().astype(np.float64) @ weights.T + biases)
    return float(nn.functional.cross_entropy(logits, labels, reduction="sum")) + float((weights**2).sum()) / (2 * c)


@pytest.mark.parametrize(("images", "noise"), [(150, 0.9), (60, 0.2), (10, 0.5)], ids=["mixed", "separable", "few"])
def test_path_reaches_the_optimum_of_scikit_learn_at_every_value(images: int, noise: float) -> None:
    features, labels = problem(images, noise)
    path = fit_path(features, labels, CLASSES, VALUES.tolist())
    assert len(path.values) == len(path.objectives) == len(VALUES)
    for index, c in enumerate(VALUES):
        exact = LogisticRegression(C=c, tol=1e-9, max_iter=100_000).fit(features.numpy().astype(np.float64), labels)
        best = objective(exact.coef_, exact.intercept_, features, labels, c)
        weights, biases = path.probe(index)
        ours = objective(weights.double().numpy(), biases.double().numpy(), features, labels, c)
        assert ours == pytest.approx(best, rel=1e-4)
        assert path.objectives[index] == pytest.approx(best, rel=1e-4)


def test_probe_of_plain_features_and_path_agree() -> None:
    features, labels = problem(100)
    path = fit_path(features, labels, CLASSES, VALUES.tolist())
    accuracies = path.accuracies(features, labels)
    for index in range(len(VALUES)):
        weights, biases = path.probe(index)
        predicted = (features @ weights.T + biases).argmax(dim=1)
        assert accuracies[index] == pytest.approx(float((predicted == labels).double().mean()), abs=0.011)


def test_path_of_a_class_without_images_is_finite() -> None:
    features, labels = problem(40)
    path = fit_path(features, labels, CLASSES + 1, VALUES.tolist())
    assert np.isfinite(path.objectives).all()
    assert path.accuracies(features, labels)[-1] > 0.9


def test_equal_validation_accuracy_chooses_the_strongest_regularisation() -> None:
    assert select_value(np.array([0.1, 0.7, 0.7, 0.6])) == 1


def test_values_that_do_not_increase_are_refused() -> None:
    features, labels = problem(20)
    with pytest.raises(ValueError, match="increase"):
        fit_path(features, labels, CLASSES, [1.0, 1.0])


@pytest.mark.parametrize("stride", [1, 4, 8])
@pytest.mark.parametrize("count", [1, 2, 17, 97])
def test_every_value_is_solved_once(count: int, stride: int) -> None:
    assert sorted(solving_order(count, stride)) == list(range(count))


def test_features_that_hardly_differ_are_solved_in_float64() -> None:
    features, labels = problem(30)
    alike = torch.nn.functional.normalize(1 + 1e-4 * features, dim=1)
    path = fit_path(alike, labels, CLASSES, np.geomspace(1e-6, 1e6, 13).tolist())
    exact = LogisticRegression(C=1e6, tol=1e-10, max_iter=100_000).fit(alike.double().numpy(), labels)
    assert path.objectives[-1] <= objective(exact.coef_, exact.intercept_, alike, labels, 1e6) * (1 + 1e-4)


def test_interpolation_reproduces_a_cubic() -> None:
    points = np.array([0.0, 1.0, 2.0, 4.0])
    assert lagrange(points, 3.0) @ points**3 == pytest.approx(27)


@pytest.mark.parametrize("clip", [1.0, 0.05])  # never, and at every update
def test_linear_probe_follows_the_updates_of_pytorchs_adamw(clip: float) -> None:
    features, labels = problem(70)
    settings = LinearProbe(epochs=12, batch_size=32, warmup_updates=5, gradient_clip=clip)
    fitted = fit_linear_probe(features, labels.numpy(), CLASSES, settings, seed=3)
    expected = _plain_loop(features, labels, settings, seed=3)
    assert torch.allclose(fitted.weight, expected.weight, atol=2e-5)
    assert torch.allclose(fitted.bias, expected.bias, atol=2e-5)


def _plain_loop(features: torch.Tensor, labels: torch.Tensor, settings: LinearProbe, seed: int) -> nn.Linear:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "linear probe weights"))
        layer = nn.Linear(DIMENSION, CLASSES)
    optimizer = torch.optim.AdamW(layer.parameters(), betas=BETAS, weight_decay=settings.weight_decay)
    fractions = iter(warmup_cosine(settings.epochs * 3, settings.warmup_updates))
    for epoch in range(settings.epochs):
        order = torch.from_numpy(rng_for(seed, "linear probe order", epoch).permutation(len(labels)))
        for batch in order.split(settings.batch_size):
            optimizer.param_groups[0]["lr"] = settings.learning_rate * next(fractions)
            optimizer.zero_grad()
            nn.functional.cross_entropy(layer(features[batch]), labels[batch]).backward()
            length = nn.utils.clip_grad_norm_(layer.parameters(), settings.gradient_clip)
            assert (length > settings.gradient_clip) == (settings.gradient_clip < 0.1)
            optimizer.step()
    return layer
