"""Evaluation facts beyond top-1, on predictions small enough to count by hand."""

import numpy as np
import pytest
from touchstone_trainer.evaluation.metrics import calibration_error, in_top_k, macro_accuracy, summed_up


def test_macro_accuracy_weighs_classes_not_images_and_leaves_out_classes_without_images() -> None:
    class_ids = np.array([0, 0, 0, 0, 3])
    predicted = np.array([0, 0, 0, 0, 1])
    assert macro_accuracy(predicted, class_ids) == 0.5


def test_top_k_counts_the_true_class_among_the_best() -> None:
    scores = np.array([[0.1, 0.5, 0.4], [0.1, 0.5, 0.4], [0.1, 0.5, 0.4]])
    class_ids = np.array([1, 2, 0], dtype=np.int32)
    assert [float(in_top_k(scores, class_ids, k).mean()) for k in (1, 2, 3)] == pytest.approx([1 / 3, 2 / 3, 1.0])


def test_equal_scores_are_no_evidence() -> None:
    assert not in_top_k(np.ones((4, 6)), np.zeros(4, dtype=np.int32), 5).any()


def test_calibrated_confidence_has_no_error_and_overconfidence_its_surplus() -> None:
    right = np.array([True, True, True, False])
    assert calibration_error(np.full(4, 0.75), right) == pytest.approx(0.0)
    assert calibration_error(np.full(4, 1.0), right) == pytest.approx(0.25)


def test_errors_of_bins_do_not_cancel() -> None:
    assert calibration_error(np.array([0.9, 0.1]), np.array([False, True])) == pytest.approx(0.9)


def test_probabilities_in_blocks_sum_up_to_what_they_do_together() -> None:
    rng = np.random.default_rng(0)
    probabilities, class_ids = rng.dirichlet(np.ones(9), size=100), rng.integers(9, size=100)
    whole = summed_up([probabilities], class_ids)
    for found, expected in zip(summed_up(np.split(probabilities, [7, 50, 99]), class_ids), whole, strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(whole.predicted, probabilities.argmax(axis=1))
    assert 0.3 < whole.in_top5.mean() < 0.8
