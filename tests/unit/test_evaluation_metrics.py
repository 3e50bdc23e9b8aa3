"""Evaluation facts beyond top-1, on predictions small enough to count by hand."""

import numpy as np
import pytest
from touchstone_trainer.evaluation.metrics import calibration_error, macro_accuracy, top_k_accuracy


def test_macro_accuracy_weighs_classes_not_images_and_leaves_out_classes_without_images() -> None:
    class_ids = np.array([0, 0, 0, 0, 3])
    predicted = np.array([0, 0, 0, 0, 1])
    assert macro_accuracy(predicted, class_ids) == 0.5


def test_top_k_counts_the_true_class_among_the_best() -> None:
    scores = np.array([[0.1, 0.5, 0.4], [0.1, 0.5, 0.4], [0.1, 0.5, 0.4]])
    class_ids = np.array([1, 2, 0], dtype=np.int32)
    assert [top_k_accuracy(scores, class_ids, k) for k in (1, 2, 3)] == pytest.approx([1 / 3, 2 / 3, 1.0])


def test_equal_scores_are_no_evidence() -> None:
    assert top_k_accuracy(np.ones((4, 6)), np.zeros(4, dtype=np.int32), 5) == 0.0


def test_calibrated_confidence_has_no_error_and_overconfidence_its_surplus() -> None:
    right = np.array([True, True, True, False])
    assert calibration_error(np.full(4, 0.75), right) == pytest.approx(0.0)
    assert calibration_error(np.full(4, 1.0), right) == pytest.approx(0.25)


def test_errors_of_bins_do_not_cancel() -> None:
    assert calibration_error(np.array([0.9, 0.1]), np.array([False, True])) == pytest.approx(0.9)
