"""Linear heads: one logistic regression a task, fitted on the served engine's own vectors."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.bundle import HEADS, Bundle
from models.logistic import all_labels
from models.measures import accuracy
from models.network import Head

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

MAX_ITERATIONS = 300


@dataclass(frozen=True, slots=True)
class HeadData:
    """Vectors [texts, hidden] and the positions of the true labels [texts]."""

    vectors: FloatArray
    targets: IntArray


def fit_head(
    labels: Sequence[str],
    train: HeadData,
    development: HeadData,
    penalties: Sequence[float],
    seed: int,
    learnt: Head | None = None,
) -> Head:
    """The best of one head a penalty (scikit-learn's C), by accuracy on the development texts.

    learnt: a head that the encoder learnt with, which is one more to choose from. Vectors are
    standardised while fitting; the head takes them as they come from the engine.
    """
    heads = [_fit(labels, train, penalty, seed) for penalty in penalties]
    return max(
        [learnt, *heads] if learnt else heads,
        key=lambda h: accuracy(development.targets, head_logits(h, development).argmax(axis=1)),
    )


def head_logits(head: Head, data: HeadData) -> FloatArray:
    """Logits [texts, labels]."""
    logits: FloatArray = data.vectors @ head.weight + head.bias
    return logits


def head_arrays(bundle: Bundle) -> dict[str, FloatArray]:
    from safetensors.numpy import load_file

    return load_file(bundle.folder / HEADS)


def heads_of(bundle: Bundle, name: str, arrays: Mapping[str, FloatArray]) -> list[Head]:
    """A bundle's heads of one task, one a stage."""
    labels = bundle.manifest.heads[name].labels
    return [
        Head(labels, arrays[f"{stage}/{name}.weight"], arrays[f"{stage}/{name}.bias"])
        for stage in range(1, len(bundle.manifest.stages) + 1)
    ]


def cooled(head: Head, temperature: float) -> Head:
    """The head whose logits are divided by the temperature."""
    factor = np.float32(1 / temperature)
    return Head(head.labels, head.weight * factor, head.bias * factor)


def _fit(labels: Sequence[str], data: HeadData, penalty: float, seed: int) -> Head:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    center, spread = data.vectors.mean(axis=0), data.vectors.std(axis=0) + 1e-6
    model = LogisticRegression(C=penalty, max_iter=MAX_ITERATIONS, random_state=seed)
    with warnings.catch_warnings():
        # Stopping before the optimum only regularises a little more.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit((data.vectors - center) / spread, data.targets)
    weight, bias = all_labels(model.coef_, model.intercept_, model.classes_, len(labels))
    weight = weight / spread
    return Head(
        labels=tuple(labels),
        weight=np.ascontiguousarray(weight.T, np.float32),
        bias=(bias - weight @ center).astype(np.float32),
    )
