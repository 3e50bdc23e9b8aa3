"""Telling two sources apart, and what is lost without that: against scikit-learn, by hand, and on made-up shortcuts."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score
from touchstone_trainer.evaluation.sources import (
    FOLDS,
    area,
    discriminant,
    erasure,
    paired_by_class,
    separability,
    without,
)

DIMENSION = 16


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def alone(count: int) -> np.ndarray:
    """Every row a group of its own."""
    return np.arange(2 * count)


def test_the_area_is_that_of_scikit_learn_with_ties() -> None:
    positive, negative = rng().integers(0, 6, 40).astype(float), rng().integers(0, 5, 30).astype(float)
    truth = np.repeat([1, 0], [40, 30])
    assert area(positive, negative) == pytest.approx(roc_auc_score(truth, np.concatenate([positive, negative])))
    assert area(np.array([1.0]), np.zeros(0)) == 0.5


def test_the_discriminant_is_that_of_scikit_learn() -> None:
    source = rng()
    first, second = source.normal(size=(60, 5)) * [1, 2, 3, 1, 1] + [1, 0, 0, 0, 2], source.normal(size=(50, 5))
    peer = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1, priors=[60 / 110, 50 / 110])
    peer.fit(np.concatenate([first, second]), np.repeat([1, 0], [60, 50]))
    ours = discriminant(first, second)
    cosine = ours @ peer.coef_[0] / np.linalg.norm(ours) / np.linalg.norm(peer.coef_[0])
    assert cosine > 0.98  # scikit-learn shrinks after scaling each feature


def test_pairs_have_as_many_images_of_each_class() -> None:
    first, second = np.array([0, 0, 0, 1, 2, 2]), np.array([2, 0, 0, 1, 1, 3])
    a, b = paired_by_class(first, second, 10, rng())
    assert sorted(first[a].tolist()) == sorted(second[b].tolist()) == [0, 0, 1, 2]
    assert (first[a] == second[b]).all()
    assert len(set(a.tolist())) == len(set(b.tolist())) == 4
    a, b = paired_by_class(first, second, 3, rng())
    assert (first[a] == second[b]).all()
    assert len(a) == 3
    assert [len(rows) for rows in paired_by_class(np.array([0]), np.array([1]), 5, rng())] == [0, 0]


def test_sources_that_differ_are_told_apart_and_others_are_not() -> None:
    source = np.random.default_rng(1)
    draws = [source.normal(size=(2, 100, DIMENSION)) for _ in range(30)]
    same = [separability(first, second, alone(100), source) for first, second in draws]
    areas = np.array([entry.auc for entry in same])
    assert abs(areas.mean() - 0.5) < 3 * areas.std() / np.sqrt(30)
    first, second = source.normal(size=(2, 100, DIMENSION))
    first[:, 3] += 2
    found = separability(first, second, alone(100), source)
    assert found.auc > 0.85
    assert 0 < found.error < 0.1


def test_an_image_and_its_perturbation_are_not_fitted_on_and_tested_apart() -> None:
    """Ten parents with twenty perturbations each: known parents would give the source away, new ones do not."""
    source = np.random.default_rng(2)
    parents = source.normal(size=(2, 10, DIMENSION))
    first, second = (np.repeat(rows, 20, axis=0) + 0.05 * source.normal(size=(200, DIMENSION)) for rows in parents)
    groups = np.repeat(np.arange(20), 20)
    assert separability(first, second, alone(200), source).auc > 0.95
    assert separability(first, second, groups, source).auc < 0.85
    assert len(np.unique(groups)) > FOLDS


def test_without_a_direction_features_do_not_differ_along_it() -> None:
    features, direction = rng().normal(size=(50, 3)) + 5, np.array([3.0, 4.0, 0.0])
    found = without(features, direction)
    along = found @ direction / 5
    assert along == pytest.approx(np.full(50, along[0]))
    assert found.mean(axis=0) == pytest.approx(features.mean(axis=0))
    assert found[:, 2] == pytest.approx(features[:, 2])
    assert without(features, np.zeros(3)) is features


def world(shortcut: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Two classes along axis 0; the sources differ along axis 0 too (a shortcut), or along axis 1."""
    source = np.random.default_rng(3)
    labels = np.repeat([0, 1], 150)
    first, second, test = source.normal(size=(3, 300, DIMENSION))
    for rows in (first, second, test):
        rows[:, 0] += np.where(labels, 1.5, -1.5)
    first[:, 0 if shortcut else 1] += 2
    return first, second, labels, test, labels


def head(labels: np.ndarray, features: np.ndarray) -> float:
    return float(((features[:, 0] > 0) == labels).mean())


def test_a_classifier_that_uses_what_tells_the_sources_apart_loses_by_its_erasure() -> None:
    first, second, classes, test, labels = world(shortcut=True)
    found = erasure(first, second, classes, test, lambda features: head(labels, features), rng())
    assert found.accuracy > 0.9
    assert found.change < -0.2
    assert found.change < found.random_low
    assert found.p_value < 0.01


def test_a_classifier_that_does_not_use_it_loses_nothing() -> None:
    first, second, classes, test, labels = world(shortcut=False)
    found = erasure(first, second, classes, test, lambda features: head(labels, features), rng())
    assert abs(found.change) < 0.02
    assert found.random_low <= found.change <= found.random_high
    assert found.p_value > 0.05


def test_after_erasure_no_linear_classifier_tells_the_sources_apart_by_their_means() -> None:
    first, second, *_ = world(shortcut=True)
    both = without(np.concatenate([first, second]), (first - second).mean(axis=0))
    assert both[:300].mean(axis=0) == pytest.approx(both[300:].mean(axis=0))
    assert separability(both[:300], both[300:], alone(300), rng()).auc < 0.55


def test_shuffled_sources_find_too_much_as_seldom_as_they_should() -> None:
    """Both sources are alike and the head uses a direction of high variance: p-values below .1 in about a tenth."""
    low = 0
    labels = np.tile([0, 1], 60)
    for run in range(100):
        source = np.random.default_rng(run)
        first, second, test = source.normal(size=(3, 120, 6)) * [3, 1, 1, 1, 1, 1]
        for rows in (first, second, test):
            rows[:, 0] += np.where(labels, 2, -2)
        low += erasure(first, second, labels, test, lambda features: head(labels, features), source).p_value <= 0.1
    assert low <= 18  # 10 expected; 18 or fewer in 99.5 % of cases
