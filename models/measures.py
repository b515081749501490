"""Figures of answers to labelled texts, from arrays alone.

Labels are positions [texts]; confidences [texts] are the probabilities of the predicted labels;
`right` [texts] says which predictions are the true label. Wherever something is drawn, the same
seed gives the same figure.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Interval = tuple[float, float]

DRAWS = 1000
RELIABILITY_BINS = 15
COVERAGE_POINTS = 20
# So many random numbers are drawn at once: 32 MiB.
CHUNK_NUMBERS = 1 << 22


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One label's figures; `support` is how many texts truly have it."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, slots=True)
class Intervals:
    """95 % intervals."""

    accuracy: Interval
    macro_f1: Interval


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """The texts whose confidence is from `low` up to `high`: what was claimed, what came true."""

    low: float
    high: float
    texts: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class CoveragePoint:
    """The accuracy on the surest share `coverage` of texts: all of `least_confidence` or more."""

    coverage: float
    accuracy: float
    least_confidence: float


def accuracy(targets: IntArray, predicted: IntArray) -> float:
    return float((targets == predicted).mean())


def macro_f1(targets: IntArray, predicted: IntArray) -> float:
    """The mean F1 over the labels that occur among the true ones."""
    labels = int(max(targets.max(), predicted.max())) + 1
    scores = class_scores(confusion(targets, predicted, labels))
    return float(np.mean([score.f1 for score in scores if score.support]))


def summary(targets: IntArray, predicted: IntArray) -> dict[str, float]:
    """What a manifest records of one set."""
    return {
        "texts": float(len(targets)),
        "accuracy": round(accuracy(targets, predicted), 4),
        "macro_f1": round(macro_f1(targets, predicted), 4),
    }


def confusion(targets: IntArray, predicted: IntArray, labels: int) -> IntArray:
    """Counts [true label, predicted label]."""
    matrix = np.zeros((labels, labels), np.int64)
    np.add.at(matrix, (targets, predicted), 1)
    return matrix


def top_confusions(
    matrix: IntArray, labels: Sequence[str], count: int
) -> list[tuple[str, str, int]]:
    """The most frequent mistakes: true label, predicted label, how often."""
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong, axis=None, kind="stable")[:count]
    places = [divmod(int(place), len(labels)) for place in order]
    return [(labels[t], labels[p], int(wrong[t, p])) for t, p in places if wrong[t, p]]


def class_scores(matrix: IntArray) -> list[ClassScore]:
    """One a label of a confusion [true, predicted]; what would be 0 / 0 is 0."""
    hits, true, predicted = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    return [
        ClassScore(
            precision=float(hit / max(1, p)),
            recall=float(hit / max(1, t)),
            f1=float(2 * hit / max(1, t + p)),
            support=int(t),
        )
        for hit, t, p in zip(hits, true, predicted, strict=True)
    ]


def bootstrap_intervals(matrix: IntArray, draws: int = DRAWS, seed: int = 0) -> Intervals:
    """Percentile intervals of the bootstrap (Efron 1979; Efron and Tibshirani 1993, chapter 13).

    matrix: a confusion [true, predicted] of at least one text.

    Drawing n texts with replacement is drawing the counts of the confusion from a multinomial
    distribution, so the texts themselves are not needed. Where every text is right, or every one
    wrong, the interval is a point: the bootstrap cannot see beyond what it has seen.
    """
    true, predicted = np.nonzero(matrix)
    counts = matrix[true, predicted]
    drawn = np.random.default_rng(seed).multinomial(counts.sum(), counts / counts.sum(), size=draws)
    one_hot = np.eye(len(matrix))
    as_true = drawn @ one_hot[true]
    as_predicted = drawn @ one_hot[predicted]
    hits = drawn @ (one_hot[true] * (true == predicted)[:, None])
    occurs = as_true > 0
    f1 = 2 * hits / np.maximum(1, as_true + as_predicted)
    return Intervals(
        accuracy=_middle(hits.sum(axis=1) / counts.sum()),
        macro_f1=_middle((f1 * occurs).sum(axis=1) / occurs.sum(axis=1)),
    )


def _middle(values: FloatArray) -> Interval:
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def reliability(
    confidence: FloatArray, right: BoolArray, bins: int = RELIABILITY_BINS
) -> tuple[ReliabilityBin, ...]:
    """Equal-width bins of confidence that have texts (Guo et al. 2017, section 2)."""
    places = _places(confidence, bins)
    return tuple(
        ReliabilityBin(
            low=float(place / bins),
            high=float((place + 1) / bins),
            texts=int((places == place).sum()),
            confidence=float(confidence[places == place].mean()),
            accuracy=float(right[places == place].mean()),
        )
        for place in np.unique(places)
    )


def expected_calibration_error(bins: Sequence[ReliabilityBin]) -> float:
    """The gap between confidence and accuracy, averaged over the texts of all bins.

    Guo et al., "On Calibration of Modern Neural Networks" (2017), equation 3. 0 without texts.
    """
    texts = sum(each.texts for each in bins)
    gaps = (each.texts * abs(each.accuracy - each.confidence) for each in bins)
    return sum(gaps) / max(1, texts)


def calibration_error_by_chance(
    confidence: FloatArray, draws: int = DRAWS, seed: int = 0, bins: int = RELIABILITY_BINS
) -> float:
    """What the expected calibration error of a perfectly calibrated model stays below 19 times of
    20, by chance alone, on texts of these confidences.

    Outcomes are drawn from the confidences: consistency resampling (Bröcker and Smith 2007). An
    error above this says that confidences and outcomes do not fit; one below says nothing.
    """
    texts = len(confidence)
    places = _places(confidence, bins)
    order = np.argsort(places, kind="stable")
    likely, starts = confidence[order], np.unique(places[order], return_index=True)[1]
    expected = np.add.reduceat(likely, starts)
    random = np.random.default_rng(seed)
    errors: list[FloatArray] = []
    rows_at_once = max(1, CHUNK_NUMBERS // texts)
    for start in range(0, draws, rows_at_once):
        rows = min(rows_at_once, draws - start)
        outcomes = (random.random((rows, texts)) < likely).astype(np.float64)
        gaps = np.abs(np.add.reduceat(outcomes, starts, axis=1) - expected)
        errors.append(gaps.sum(axis=1) / texts)
    return float(np.quantile(np.concatenate(errors), 0.95))


def _places(confidence: FloatArray, bins: int) -> IntArray:
    return np.minimum((confidence * bins).astype(np.int64), bins - 1)


def coverage_curve(
    confidence: FloatArray, right: BoolArray, points: int = COVERAGE_POINTS
) -> tuple[CoveragePoint, ...]:
    """Accuracy on the surest 1/points, 2/points, ... of the texts (El-Yaniv and Wiener 2010)."""
    texts = len(confidence)
    running = _running_accuracy(confidence, right)
    ordered = np.sort(confidence)[::-1]
    ends = np.unique(np.ceil(texts * np.arange(1, points + 1) / points).astype(int))
    return tuple(
        CoveragePoint(float(end / texts), float(running[end - 1]), float(ordered[end - 1]))
        for end in ends
    )


def area_under_coverage(confidence: FloatArray, right: BoolArray) -> float:
    """The mean accuracy over all coverages: 1 − AURC of Geifman and El-Yaniv (2017).

    The overall accuracy where confidence says nothing, near 1 where it tells right from wrong.
    """
    return float(_running_accuracy(confidence, right).mean())


def _running_accuracy(confidence: FloatArray, right: BoolArray) -> FloatArray:
    """On the surest text, the surest two, and so on; texts of equal confidence share their luck."""
    _, group, sizes = np.unique(-confidence, return_inverse=True, return_counts=True)
    shares = np.bincount(group, weights=right) / sizes
    running: FloatArray = np.cumsum(np.repeat(shares, sizes)) / np.arange(1, len(right) + 1)
    return running


def auroc(positives: FloatArray, negatives: FloatArray) -> float:
    """The probability that a positive's score is above a negative's, ties counting half.

    It is the area under the ROC curve (Hanley and McNeil 1982). Neither may be empty.
    """
    ordered = np.sort(negatives)
    below = np.searchsorted(ordered, positives, side="left")
    up_to = np.searchsorted(ordered, positives, side="right")
    return float((below + up_to).mean() / 2 / len(negatives))


def cohens_kappa(first: Sequence[str], second: Sequence[str]) -> float | None:
    """Agreement of two annotators beyond that of chance (Cohen 1960); None without a text, or where
    both gave one and the same label to everything, so that chance explains it all."""
    if not first:
        return None
    ours, theirs = np.array(first), np.array(second)
    by_chance = sum(
        float((ours == label).mean() * (theirs == label).mean()) for label in set(first)
    )
    agreed = float((ours == theirs).mean())
    return None if by_chance == 1 else (agreed - by_chance) / (1 - by_chance)
