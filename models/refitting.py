"""A head that learns lessons and stays near what it was.

With W, b the champion's head and D, d the change, the new head minimises

    (Σ_r CE(p_r, x_r) + λ Σ_l w_l CE(y_l, x_l)) / n  +  μ/2 |D|²,

where r are the n rehearsal texts with the champion's own probabilities p_r (distillation: Hinton et
al. 2015; against forgetting: Li and Hoiem, "Learning without Forgetting", 2016) and l the lessons
with their weights. D is measured on vectors of unit spread. At D = 0 the rehearsal's slope is zero,
so nothing moves but by lessons.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.calibration import softmax
from models.heads import FloatArray, IntArray
from models.network import Head

Array = npt.NDArray[np.float64]

MAX_ITERATIONS = 30


@dataclass(frozen=True, slots=True)
class Texts:
    """Vectors [texts, width] of texts, and what further logits [texts, labels] are added to a
    head's, if any (a bundle may have other parts than heads)."""

    vectors: FloatArray
    offset: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.vectors)

    def at(self, rows: IntArray) -> "Texts":
        return Texts(self.vectors[rows], None if self.offset is None else self.offset[rows])

    @classmethod
    def joined(cls, parts: Sequence["Texts"], labels: int) -> "Texts":
        """All of them as one."""
        offsets = [
            np.zeros((len(part), labels), np.float32) if part.offset is None else part.offset
            for part in parts
        ]
        return cls(np.concatenate([part.vectors for part in parts]), np.concatenate(offsets))

    def logits(self, head: Head) -> FloatArray:
        """[texts, labels]."""
        logits: FloatArray = self.vectors @ head.weight + head.bias
        return logits if self.offset is None else logits + self.offset


@dataclass(frozen=True, slots=True)
class Taught:
    """Texts with the probabilities [texts, labels] that a head is to give them, and weights."""

    texts: Texts
    targets: FloatArray
    weights: FloatArray

    @classmethod
    def of(cls, texts: Texts, labels: IntArray, weights: FloatArray, count: int) -> "Taught":
        """With one label a text, of `count` that there are."""
        return cls(texts, np.eye(count, dtype=np.float32)[labels], weights)

    @classmethod
    def by(cls, head: Head, texts: Texts) -> "Taught":
        """With what a head itself says of the texts."""
        return cls(texts, softmax(texts.logits(head)), np.ones(len(texts), np.float32))

    @classmethod
    def joined(cls, parts: Sequence["Taught"]) -> "Taught":
        """All of them as one."""
        return cls(
            Texts.joined([part.texts for part in parts], parts[0].targets.shape[1]),
            np.concatenate([part.targets for part in parts]),
            np.concatenate([part.weights for part in parts]),
        )

    def at(self, rows: IntArray) -> "Taught":
        return Taught(self.texts.at(rows), self.targets[rows], self.weights[rows])


@dataclass(frozen=True, slots=True)
class Strength:
    """lesson: how many rehearsal texts a lesson counts for (λ). pull: towards the champion (μ)."""

    lesson: float
    pull: float


def refit(head: Head, lessons: Taught, rehearsal: Taught | None, strength: Strength) -> Head:
    """The head after the lessons; without rehearsal only the pull holds it back.

    Deterministic. A head that is given nothing stays bit for bit.
    """
    from scipy.optimize import minimize

    if not len(lessons.texts) and rehearsal is None:
        return head
    problem = _Problem.of(head, lessons, rehearsal, strength.lesson)
    width, count = head.weight.shape

    def objective(flat: Array) -> tuple[float, Array]:
        value, slope = problem.loss(flat.astype(np.float32).reshape(width + 1, count))
        slope[1:] += strength.pull * flat.reshape(width + 1, count)[1:]
        return value + strength.pull / 2 * float((flat[count:] ** 2).sum()), slope.ravel()

    start = np.zeros((width + 1) * count)
    options = {"maxiter": MAX_ITERATIONS}
    flat = minimize(objective, start, jac=True, method="L-BFGS-B", options=options).x
    return problem.moved(head, flat.reshape(width + 1, count))


@dataclass(frozen=True, slots=True)
class _Problem:
    """All texts as rows of unit spread with a one in front; `known` are the champion's logits.

    shares [texts] are what each adds to the mean loss.
    """

    rows: FloatArray
    known: FloatArray
    targets: FloatArray
    shares: FloatArray
    center: FloatArray
    spread: FloatArray

    @classmethod
    def of(
        cls, head: Head, lessons: Taught, rehearsal: Taught | None, lesson_weight: float
    ) -> "_Problem":
        weighted = [(rehearsal, 1.0), (lessons, lesson_weight)]
        parts = [part for part, _ in weighted if part and len(part.texts)]
        factors = [factor for part, factor in weighted if part and len(part.texts)]
        vectors = np.concatenate([part.texts.vectors for part in parts])
        reference = parts[0].texts.vectors
        center, spread = reference.mean(axis=0), reference.std(axis=0)
        spread = np.maximum(spread, 1e-2 * spread.mean() + 1e-6)
        total = float(rehearsal.weights.sum()) if rehearsal else 0.0
        total = max(total, lesson_weight * float(lessons.weights.sum()))
        shares = [
            factor * part.weights / total for factor, part in zip(factors, parts, strict=True)
        ]
        ones = np.ones((len(vectors), 1), np.float32)
        return cls(
            rows=np.hstack([ones, (vectors - center) / spread]).astype(np.float32),
            known=np.concatenate([part.texts.logits(head) for part in parts]),
            targets=np.concatenate([part.targets for part in parts]),
            shares=np.concatenate(shares).astype(np.float32),
            center=center,
            spread=spread,
        )

    def loss(self, change: FloatArray) -> tuple[float, Array]:
        """The mean cross-entropy and its slope [1 + width, labels]."""
        logits = self.known + self.rows @ change
        logits -= logits.max(axis=1, keepdims=True)
        powers = np.exp(logits)
        sums = powers.sum(axis=1, keepdims=True)
        losses = -(self.targets * (logits - np.log(sums))).sum(axis=1, dtype=np.float64)
        slopes = (powers / sums - self.targets) * self.shares[:, None]
        slope: Array = (self.rows.T @ slopes).astype(np.float64)
        return float(losses @ self.shares), slope

    def moved(self, head: Head, change: Array) -> Head:
        weight = change[1:] / self.spread[:, None]
        return Head(
            labels=head.labels,
            weight=np.ascontiguousarray(head.weight + weight, np.float32),
            bias=(head.bias + change[0] - self.center @ weight).astype(np.float32),
        )
