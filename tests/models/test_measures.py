import numpy as np
import pytest

from models.calibration import expected_calibration_error, fit_temperature, log_loss, softmax
from models.measures import accuracy, confusion, macro_f1, summary, top_confusions
from models.quantization import Range, quantize_activations, quantize_columns, quantize_rows

TRUE = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 0, 1, 1, 1, 0])


def test_accuracy_and_macro_f1_of_a_small_case() -> None:
    assert accuracy(TRUE, PREDICTED) == pytest.approx(4 / 6)
    # F1: 2/3 of label 0, 4/5 of label 1, 0 of label 2.
    assert macro_f1(TRUE, PREDICTED) == pytest.approx((2 / 3 + 4 / 5) / 3)
    assert summary(TRUE, PREDICTED) == {"texts": 6.0, "accuracy": 0.6667, "macro_f1": 0.4889}


def test_a_label_that_is_only_predicted_does_not_count_in_macro_f1() -> None:
    assert macro_f1(np.array([0, 0]), np.array([0, 3])) == pytest.approx(2 / 3)


def test_confusion_and_its_worst() -> None:
    matrix = confusion(TRUE, PREDICTED, 3)
    assert matrix.tolist() == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]
    assert top_confusions(matrix, ["a", "b", "c"], 5) == [("a", "b", 1), ("c", "a", 1)]


def test_softmax_sums_to_one_and_withstands_large_logits() -> None:
    probabilities = softmax(np.array([[1000.0, 0.0], [0.0, 0.0]], np.float32))
    np.testing.assert_allclose(probabilities, np.array([[1.0, 0.0], [0.5, 0.5]]))


def test_the_temperature_of_overconfident_logits_is_found() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (5000, 4)).astype(np.float32)
    targets = np.array(
        [random.choice(4, p=row / row.sum()) for row in softmax(logits).astype(float)]
    )
    assert fit_temperature(logits * 2.5, targets) == pytest.approx(2.5, rel=0.1)
    assert log_loss(softmax(logits), targets) < log_loss(softmax(logits * 2.5), targets)


def test_calibration_error_of_known_cases() -> None:
    sure = np.array([[0.9, 0.1]] * 10, np.float32)
    nine_of_ten = np.array([0] * 9 + [1])
    assert expected_calibration_error(sure, nine_of_ten) == pytest.approx(0, abs=1e-6)
    assert expected_calibration_error(sure, np.ones(10, int)) == pytest.approx(0.9)
    assert expected_calibration_error(sure[:0], nine_of_ten[:0]) == 0


def test_rounding_errs_by_half_a_step_at_most() -> None:
    weight = np.random.default_rng(0).normal(0, 1, (20, 6)).astype(np.float32)
    weight[:, 2] = 0
    for ints, scales in (quantize_columns(weight), quantize_rows(weight)):
        assert ints.dtype == np.int8
        assert (np.abs(ints * scales - weight) <= scales / 2 + 1e-7).all()


def test_the_activation_grid_covers_the_range_and_has_zero() -> None:
    measured = Range().widened(np.array([-1.0, 3.0], np.float32))
    step, zero = quantize_activations(measured)
    assert (0 - float(zero)) * step == pytest.approx(-1, abs=float(step))
    assert (255 - float(zero)) * step == pytest.approx(3, abs=float(step))
    assert quantize_activations(Range(0.5, 2.0).widened(np.zeros(1, np.float32)))[1] == 0
