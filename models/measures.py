"""Accuracy, macro-F1 and confusion, from positions of true and predicted labels."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]


def accuracy(targets: IntArray, predicted: IntArray) -> float:
    return float((targets == predicted).mean())


def macro_f1(targets: IntArray, predicted: IntArray) -> float:
    """The mean F1 over the labels that occur among the true ones."""
    return float(np.mean([_f1(targets == label, predicted == label) for label in set(targets)]))


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


def _f1(true: npt.NDArray[np.bool_], predicted: npt.NDArray[np.bool_]) -> float:
    both = int((true & predicted).sum())
    return 2 * both / max(1, int(true.sum()) + int(predicted.sum()))
