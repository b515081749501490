import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, roc_auc_score

from models import measures
from models.calibration import fit_temperature, log_loss, softmax
from models.measures import (
    ClassScore,
    CoveragePoint,
    ReliabilityBin,
    accuracy,
    area_under_coverage,
    auroc,
    bootstrap_intervals,
    calibration_error_by_chance,
    class_scores,
    cohens_kappa,
    confusion,
    coverage_curve,
    expected_calibration_error,
    macro_f1,
    reliability,
    summary,
    top_confusions,
)
from models.quantization import Range, quantize_activations, quantize_columns, quantize_rows

TRUE = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 0, 1, 1, 1, 0])
MATRIX = confusion(TRUE, PREDICTED, 3)


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    return expected_calibration_error(reliability(confidence, right))


# Right and wrong


def test_accuracy_and_macro_f1_of_a_small_case() -> None:
    assert accuracy(TRUE, PREDICTED) == pytest.approx(4 / 6)
    # F1: 2/3 of label 0, 4/5 of label 1, 0 of label 2.
    assert macro_f1(TRUE, PREDICTED) == pytest.approx((2 / 3 + 4 / 5) / 3)
    assert summary(TRUE, PREDICTED) == {"texts": 6.0, "accuracy": 0.6667, "macro_f1": 0.4889}


def test_a_label_that_is_only_predicted_does_not_count_in_macro_f1() -> None:
    assert macro_f1(np.array([0, 0]), np.array([0, 3])) == pytest.approx(2 / 3)


labels_of_texts = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1)


@given(labels_of_texts)
def test_macro_f1_is_scikit_learns_over_the_true_labels(pairs: list[tuple[int, int]]) -> None:
    true, predicted = np.array(pairs).T
    expected = f1_score(true, predicted, labels=np.unique(true), average="macro", zero_division=0)
    assert macro_f1(true, predicted) == pytest.approx(expected)


def test_confusion_and_its_worst() -> None:
    assert MATRIX.tolist() == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]
    assert top_confusions(MATRIX, ["a", "b", "c"], 5) == [("a", "b", 1), ("c", "a", 1)]


def test_scores_of_each_class() -> None:
    assert class_scores(np.pad(MATRIX, (0, 1))) == [
        ClassScore(precision=2 / 3, recall=2 / 3, f1=2 / 3, support=3),
        ClassScore(precision=2 / 3, recall=1.0, f1=4 / 5, support=2),
        ClassScore(precision=0.0, recall=0.0, f1=0.0, support=1),
        ClassScore(precision=0.0, recall=0.0, f1=0.0, support=0),
    ]


# Intervals


def test_the_interval_of_an_accuracy_is_that_of_a_share() -> None:
    low, high = bootstrap_intervals(np.array([[240, 60], [40, 60]])).accuracy
    # 0.75 of 400: a normal approximation gives ± 1.96 · 0.02165.
    assert low == pytest.approx(0.75 - 0.0424, abs=0.005)
    assert high == pytest.approx(0.75 + 0.0424, abs=0.005)


def test_drawing_counts_is_drawing_texts() -> None:
    random = np.random.default_rng(1)
    true = random.integers(0, 3, 120)
    predicted = np.where(random.random(120) < 0.7, true, random.integers(0, 3, 120))
    drawn = []
    for _ in range(2000):
        rows = random.integers(0, 120, 120)
        drawn.append((accuracy(true[rows], predicted[rows]), macro_f1(true[rows], predicted[rows])))
    of_texts = np.quantile(drawn, (0.025, 0.975), axis=0).T
    of_counts = bootstrap_intervals(confusion(true, predicted, 3), draws=4000)
    np.testing.assert_allclose(of_counts.accuracy, of_texts[0], atol=0.015)
    np.testing.assert_allclose(of_counts.macro_f1, of_texts[1], atol=0.015)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    random = np.random.default_rng(2)
    covered = 0
    for _ in range(300):
        right = random.binomial(300, 0.8)
        low, high = bootstrap_intervals(np.array([[right, 300 - right], [0, 0]])).accuracy
        covered += low <= 0.8 <= high
    assert 0.90 < covered / 300 < 0.99


def test_where_all_are_right_the_interval_is_a_point() -> None:
    intervals = bootstrap_intervals(np.diag([3, 4]))
    assert intervals.accuracy == (1.0, 1.0)
    assert intervals.macro_f1 == (1.0, 1.0)


def test_the_same_seed_gives_the_same_interval() -> None:
    assert bootstrap_intervals(MATRIX, seed=3) == bootstrap_intervals(MATRIX, seed=3)
    assert bootstrap_intervals(MATRIX, seed=3) != bootstrap_intervals(MATRIX, seed=4)


# Calibration


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
    sure, nine_of_ten = np.full(10, 0.9), np.array([True] * 9 + [False])
    assert calibration_error(sure, nine_of_ten) == pytest.approx(0)
    assert calibration_error(sure, np.zeros(10, bool)) == pytest.approx(0.9)
    assert calibration_error(sure[:0], nine_of_ten[:0]) == 0
    # Half of the texts claim 0.9 and are always right, the others claim 0.5 and never are.
    halves = np.repeat([0.9, 0.5], 5)
    assert calibration_error(halves, halves > 0.6) == pytest.approx((0.1 + 0.5) / 2)


def test_bins_hold_what_was_claimed_and_what_came_true() -> None:
    confidence = np.array([0.05, 0.31, 0.39, 1.0])
    right = np.array([False, True, False, True])
    assert reliability(confidence, right, bins=10) == (
        ReliabilityBin(0.0, 0.1, 1, 0.05, 0.0),
        ReliabilityBin(0.3, 0.4, 2, 0.35, 0.5),
        ReliabilityBin(0.9, 1.0, 1, 1.0, 1.0),
    )


def test_what_chance_alone_makes_of_a_calibrated_model() -> None:
    # Right with 0.9, so the gap is 0.1; wrong with 0.1, then it is 0.9.
    assert calibration_error_by_chance(np.array([0.9])) == pytest.approx(0.9)
    # The share of heads in 400 throws: 1.96 standard deviations of 0.025.
    assert calibration_error_by_chance(np.full(400, 0.5)) == pytest.approx(0.049, abs=0.004)
    assert calibration_error_by_chance(np.ones(50)) == 0


def test_a_calibrated_model_stays_below_chance_19_times_of_20() -> None:
    random = np.random.default_rng(5)
    confidence = random.uniform(0.3, 1, 500)
    limit = calibration_error_by_chance(confidence)
    errors = [calibration_error(confidence, random.random(500) < confidence) for _ in range(400)]
    assert 0.92 < np.mean(np.array(errors) < limit) < 0.98
    assert calibration_error(confidence, random.random(500) < confidence**2) > limit


def test_draws_do_not_depend_on_how_many_are_made_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    confidence = np.random.default_rng(6).random(70)
    at_once = calibration_error_by_chance(confidence)
    monkeypatch.setattr(measures, "CHUNK_NUMBERS", 1000)
    assert calibration_error_by_chance(confidence) == at_once


# Coverage


def test_accuracy_on_the_surest_texts() -> None:
    confidence = np.array([0.5, 0.9, 0.8, 0.6])
    right = np.array([False, True, True, False])
    assert coverage_curve(confidence, right, points=4) == (
        CoveragePoint(0.25, 1.0, 0.9),
        CoveragePoint(0.5, 1.0, 0.8),
        CoveragePoint(0.75, 2 / 3, 0.6),
        CoveragePoint(1.0, 0.5, 0.5),
    )
    assert area_under_coverage(confidence, right) == pytest.approx((1 + 1 + 2 / 3 + 1 / 2) / 4)


def test_a_confidence_that_says_nothing_gives_the_accuracy_at_every_coverage() -> None:
    right = np.array([True, False, False, True, False])
    curve = coverage_curve(np.full(5, 0.7), right)
    assert [point.accuracy for point in curve] == pytest.approx([0.4] * 5)
    assert area_under_coverage(np.full(5, 0.7), right) == pytest.approx(0.4)


def test_the_curve_of_a_single_text() -> None:
    assert coverage_curve(np.array([0.7]), np.array([True])) == (CoveragePoint(1.0, 1.0, 0.7),)


# Ranking and agreement


def test_auroc_of_known_cases() -> None:
    low, high = np.array([0.1, 0.2]), np.array([0.8, 0.9])
    assert auroc(high, low) == 1
    assert auroc(low, high) == 0
    assert auroc(low, low) == 0.5
    assert auroc(np.array([0.5, 0.9]), np.array([0.5, 0.1, 0.7])) == pytest.approx(4.5 / 6)


scores = st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0]), min_size=1)


@given(scores, scores)
def test_auroc_is_scikit_learns(positives: list[float], negatives: list[float]) -> None:
    expected = roc_auc_score([1] * len(positives) + [0] * len(negatives), positives + negatives)
    assert auroc(np.array(positives), np.array(negatives)) == pytest.approx(expected)


def test_kappa_of_the_textbook() -> None:
    # 20 times both yes, 15 times both no, 5 and 10 times one of each: 0.7 agree, 0.5 by chance.
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert cohens_kappa(first, second) == pytest.approx(0.4)
    assert cohens_kappa(first, first) == pytest.approx(1)


def test_kappa_says_nothing_where_chance_explains_it_all() -> None:
    assert cohens_kappa(["yes", "yes"], ["yes", "yes"]) is None
    assert cohens_kappa([], []) is None


# Rounding


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
