"""Temperatures that make a confidence mean what it says, and when an early answer will do.

Temperature scaling is from Guo et al., "On Calibration of Modern Neural Networks" (2017).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

# A confidence that no answer has.
NEVER = 1.01

_TEMPERATURES = np.exp(np.linspace(np.log(0.2), np.log(5.0), 161))


def softmax(logits: FloatArray, temperature: float = 1.0) -> FloatArray:
    """Probabilities along the last axis of logits / temperature, [texts, labels]."""
    scaled = logits.astype(np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    probabilities: FloatArray = (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)
    return probabilities


def fit_temperature(logits: FloatArray, targets: IntArray, spread: float | None = None) -> float:
    """The temperature with the least negative log-likelihood, on a grid from 0.2 to 5.

    logits [texts, labels]; targets [texts], positions of the true labels. With `spread` its
    logarithm has a normal prior of that deviation around 0: a handful of texts that are all right
    would else make every answer certain, and none at all leaves 1.
    """
    if spread and not len(targets):
        return 1.0
    losses = np.array([log_loss(softmax(logits, t), targets) for t in _TEMPERATURES])
    if spread:
        losses += (np.log(_TEMPERATURES) / spread) ** 2 / 2 / len(targets)
    return round(float(_TEMPERATURES[int(np.argmin(losses))]), 4)


def log_loss(probabilities: FloatArray, targets: IntArray) -> float:
    """Mean negative log-likelihood of the true labels, in nats."""
    true = probabilities[np.arange(len(targets)), targets]
    return float(-np.log(np.maximum(true, 1e-12)).mean())


def plain_from(early: FloatArray, later: FloatArray, largest_loss: float) -> float:
    """The least confidence from which an early answer may stand in for the later one.

    early, later: probabilities [texts, labels] of an exit and of what would follow it. The loss of
    an early answer is what the later, calibrated probabilities give their own label more than the
    early one: the accuracy that is expected to go. It is kept within `largest_loss` on average
    over all texts. 1.01, which no text reaches, where nothing can be gained.
    """
    rows = np.arange(len(early))
    loss = later.max(axis=1) - later[rows, early.argmax(axis=1)]
    confidence = early.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    within = np.cumsum(loss[order]) / max(1, len(rows)) <= largest_loss
    if not within.any():
        return NEVER
    return round(float(confidence[order][np.flatnonzero(within)[-1]]), 4)


def plain_answers(by_stage: Sequence[FloatArray], largest_loss: float) -> tuple[float, ...]:
    """For each stage but the last, from which confidence on a text goes no further.

    by_stage: probabilities [texts, labels] of the same texts at each stage. Every exit may lose
    its equal part of `largest_loss`.
    """
    confidences: list[float] = []
    later = by_stage[-1]
    for early in reversed(by_stage[:-1]):
        least = plain_from(early, later, largest_loss / (len(by_stage) - 1))
        confidences.insert(0, least)
        later = np.where((early.max(axis=1) >= least)[:, None], early, later)
    return tuple(confidences)
