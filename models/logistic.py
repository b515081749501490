"""What scikit-learn's logistic regression leaves open: labels that it did not see."""

import numpy as np
import numpy.typing as npt


def all_labels(
    weight: npt.NDArray[np.float64],
    bias: npt.NDArray[np.float64],
    classes: npt.NDArray[np.int64],
    count: int,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Rows for every label: of two classes scikit-learn keeps only one; unseen ones stay silent."""
    if len(classes) == 2:
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    rows = np.zeros((count, weight.shape[1]))
    offsets = np.full(count, -30.0)
    rows[classes], offsets[classes] = weight, bias
    return rows, offsets
