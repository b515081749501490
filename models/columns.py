"""Columns of new labels in a head whose other columns stay as they are.

With z the logits of the known labels, a head with a new label says

    P(new | text) = exp(x·w + b) / (exp(x·w + b) + Σ exp(z)),

so w and b are those of a logistic regression that has -log Σ exp(z) as an offset; of several new
labels, of a softmax that has log Σ exp(z) as one fixed logit. It is the maximum of the likelihood
of the whole head, given that the known columns stand. A regression of new against rest that does
not look at z would not know how large its logits must be to win where they should, and only there.
Which known label a text has cancels out: only that it has none of the new ones is learnt from it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.heads import MAX_ITERATIONS, FloatArray, IntArray
from models.network import Head

Array = npt.NDArray[np.float64]

# Values of scikit-learn's C that are tried.
PENALTIES = (0.01, 0.1, 1.0)


@dataclass(frozen=True, slots=True)
class ColumnData:
    """Texts by which columns are fitted.

    vectors: [texts, width].
    known: log Σ exp of the known labels' logits, [texts].
    targets: 0 for any known label, from 1 on the new ones, [texts].
    weights: how much each text counts, [texts].
    """

    vectors: FloatArray
    known: Array
    targets: IntArray
    weights: Array

    @classmethod
    def of(
        cls,
        head: Head,
        vectors: FloatArray,
        targets: IntArray,
        known_weight: float,
        beside: FloatArray | None = None,
    ) -> "ColumnData":
        """`known_weight` is that of a text of a known label; one of a new label has 1. `beside`,
        [texts, known labels], is added to the head's logits."""
        logits = (vectors @ head.weight + head.bias).astype(np.float64)
        if beside is not None:
            logits += beside
        return cls(
            vectors=vectors,
            known=np.logaddexp.reduce(logits, axis=1),
            targets=targets,
            weights=np.where(targets == 0, known_weight, 1.0),
        )

    def log_probabilities(self, logits: Array) -> Array:
        """[texts, 1 + new labels], the first that of all known labels together, given the new
        ones' logits."""
        both = np.column_stack([self.known, logits])
        found: Array = both - np.logaddexp.reduce(both, axis=1, keepdims=True)
        return found


def fit_columns(
    labels: Sequence[str],
    train: ColumnData,
    held_out: ColumnData,
    penalties: Sequence[float] = PENALTIES,
) -> Head:
    """The best columns of one fit a penalty, by log loss on held-out texts.

    The loss rather than accuracy, since a column that is too sure of itself takes texts from the
    known labels with confidence.
    """
    fitted = [_fit(labels, train, penalty) for penalty in penalties]
    return min(fitted, key=lambda columns: _loss(columns, held_out))


def joined(head: Head, columns: Head) -> Head:
    """The head with the columns behind its own."""
    return Head(
        labels=(*head.labels, *columns.labels),
        weight=np.concatenate([head.weight, columns.weight], axis=1),
        bias=np.concatenate([head.bias, columns.bias]),
    )


def _loss(columns: Head, data: ColumnData) -> float:
    logits = (data.vectors @ columns.weight + columns.bias).astype(np.float64)
    true = data.log_probabilities(logits)[np.arange(len(data.targets)), data.targets]
    return float(-np.average(true, weights=data.weights))


def _fit(labels: Sequence[str], data: ColumnData, penalty: float) -> Head:
    from scipy.optimize import minimize

    center, spread = data.vectors.mean(axis=0), data.vectors.std(axis=0) + 1e-6
    texts = ((data.vectors - center) / spread).astype(np.float64)
    width, count = texts.shape[1], len(labels)
    true = np.eye(1 + count)[data.targets]
    factors = penalty * data.weights[:, None]

    def objective(flat: Array) -> tuple[float, Array]:
        bias, weight = flat[:count], flat[count:].reshape(width, count)
        found = data.log_probabilities(texts @ weight + bias)
        slopes = (factors * (np.exp(found) - true))[:, 1:]
        value = (weight**2).sum() / 2 - (factors * true * found).sum()
        return float(value), np.concatenate(
            [slopes.sum(axis=0), (texts.T @ slopes + weight).ravel()]
        )

    start = np.zeros(count + width * count)
    start[:count] = data.known.mean()
    options = {"maxiter": MAX_ITERATIONS}
    flat = minimize(objective, start, jac=True, method="L-BFGS-B", options=options).x
    weight = flat[count:].reshape(width, count) / spread[:, None]
    return Head(
        labels=tuple(labels),
        weight=np.ascontiguousarray(weight, np.float32),
        bias=(flat[:count] - center @ weight).astype(np.float32),
    )
