"""How far today's answers are from those that the model gave when it was made.

A bundle keeps a `Reference` for each task: how its answers to the texts kept back from training
were spread. A worker counts its own in a `Window`. `divergence` compares two spreads.
"""

from collections import Counter, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from schemas.predictions import Classification
from schemas.taxonomy import INTENT, OTHER

# Bins of confidence, each as wide: [0, 0.1), ..., [0.9, 1].
BINS = 10
# So many texts a bin, spread as in the reference, are added to what is compared with it. The noise
# of a spread that did not change then adds 1/40 at most on average, however few its texts are.
TEXTS_A_BIN = 10
# Added to each bin of a reference, which may have met none of a rare label.
LEAST_TEXTS = 0.5
WINDOW_MINUTES = 60
_DIGITS = 6


class Reference(BaseModel):
    """How the answers to one task are spread.

    labels: the share of each label that was answered at all.
    confidence: the share of each of the BINS bins.
    abstained: the share of texts that the model as good as did not judge (see `abstained`).
    unknown_tokens: the share of tokens in no vocabulary among all that were read.
    texts: how many answers these shares are of.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    texts: int
    labels: dict[str, float]
    confidence: tuple[float, ...]
    abstained: float
    unknown_tokens: float

    def joined(self, other: "Reference") -> "Reference":
        """That of the texts of both."""
        texts = self.texts + other.texts

        def share(ours: float, theirs: float) -> float:
            return _share(ours * self.texts + theirs * other.texts, texts)

        return Reference(
            texts=texts,
            labels={
                label: share(self.labels.get(label, 0.0), other.labels.get(label, 0.0))
                for label in sorted({*self.labels, *other.labels})
            },
            confidence=tuple(map(share, self.confidence, other.confidence)),
            abstained=share(self.abstained, other.abstained),
            unknown_tokens=share(self.unknown_tokens, other.unknown_tokens),
        )


@dataclass(slots=True)
class Tally:
    """The answers to one task, counted; `disagreed` of `feedback` labels by people differ."""

    labels: Counter[str] = field(default_factory=Counter)
    confidence: list[int] = field(default_factory=lambda: [0] * BINS)
    confidence_sum: float = 0.0
    abstained: int = 0
    tokens: int = 0
    unknown_tokens: int = 0
    feedback: int = 0
    disagreed: int = 0

    @property
    def texts(self) -> int:
        return sum(self.confidence)

    @property
    def confidence_mean(self) -> float:
        return _share(self.confidence_sum, self.texts)

    @property
    def abstained_share(self) -> float:
        return _share(self.abstained, self.texts)

    @property
    def unknown_share(self) -> float:
        return _share(self.unknown_tokens, self.tokens)

    def add(self, task: str, classification: Classification) -> None:
        """Count the answer to the task about one text."""
        prediction = classification.predictions[task]
        confidence = prediction.confidence
        self.labels[prediction.label] += 1
        self.confidence[min(int(confidence * BINS), BINS - 1)] += 1
        self.confidence_sum += confidence
        self.abstained += abstained(task, classification)
        self.tokens += classification.tokens
        self.unknown_tokens += classification.unknown_tokens

    def include(self, other: "Tally") -> None:
        """Count what another one has counted, too."""
        self.labels.update(other.labels)
        self.confidence = [a + b for a, b in zip(self.confidence, other.confidence, strict=True)]
        self.confidence_sum += other.confidence_sum
        self.abstained += other.abstained
        self.tokens += other.tokens
        self.unknown_tokens += other.unknown_tokens
        self.feedback += other.feedback
        self.disagreed += other.disagreed

    def reference(self) -> Reference:
        """The shares, rounded to six digits."""
        return Reference(
            texts=self.texts,
            labels={name: _share(n, self.texts) for name, n in sorted(self.labels.items())},
            confidence=tuple(_share(n, self.texts) for n in self.confidence),
            abstained=self.abstained_share,
            unknown_tokens=self.unknown_share,
        )


class Window:
    """The answers to some tasks in the last `minutes` minutes. A text costs a few µs.

    It does not know the time: `turn` begins another minute.
    """

    def __init__(self, tasks: Collection[str], minutes: int = WINDOW_MINUTES) -> None:
        self._tasks = tuple(tasks)
        self._minutes: deque[dict[str, Tally]] = deque(maxlen=minutes)
        self.turn()

    def turn(self) -> None:
        """Begin another minute; the oldest goes when there are enough."""
        self._minutes.append({task: Tally() for task in self._tasks})

    def add(self, classification: Classification) -> None:
        """Count the answers about one text."""
        now = self._minutes[-1]
        for task in classification.predictions:
            now[task].add(task, classification)

    def disagreed(self, task: str, differs: bool) -> None:
        """Count a person's label, and whether it differs from the answer."""
        tally = self._minutes[-1][task]
        tally.feedback += 1
        tally.disagreed += differs

    def totals(self) -> dict[str, Tally]:
        """All that is in the window, by task."""
        totals = {task: Tally() for task in self._tasks}
        for minute in self._minutes:
            for task, tally in minute.items():
                totals[task].include(tally)
        return totals


def abstained(task: str, classification: Classification) -> bool:
    """Whether the model as good as did not answer: a message is about none of the intents, or a
    text is in a language that the model does not know."""
    if classification.foreign_language:
        return True
    return task == INTENT and classification.predictions[task].label == OTHER


def label_divergence(tally: Tally, reference: Reference) -> float:
    """That of the labels which either of the two has."""
    labels = sorted({*tally.labels, *reference.labels})
    return divergence(
        [tally.labels[label] for label in labels],
        [reference.labels.get(label, 0.0) * reference.texts for label in labels],
    )


def confidence_divergence(tally: Tally, reference: Reference) -> float:
    """That of the histograms of confidence."""
    return divergence(tally.confidence, [s * reference.texts for s in reference.confidence])


def divergence(now: Sequence[float], before: Sequence[float]) -> float:
    """The population stability index of two spreads, given as numbers of texts, bin by bin.

    PSI = Σ (a - e) ln(a / e) over the shares of texts, a now and e before (Siddiqi, "Credit Risk
    Scorecards", 2006). It is usually read as: under 0.1 no change, up to 0.25 some, above that a
    strong one. Without any change it is about (B - 1) (1/n + 1/m) for B bins and n and m texts
    (Yurdakul and Naranjo, "Statistical properties of the population stability index", 2020): 100
    texts over 78 labels would pass for a strong one. Therefore, and since a bin may be empty,
    LEAST_TEXTS are added to each bin of `before`, and TEXTS_A_BIN · B texts to `now`, spread as
    `before` is. So few texts show less of a change than there is, instead of more.
    """
    expected = _shares(np.asarray(before, np.float64) + LEAST_TEXTS)
    found = _shares(np.asarray(now, np.float64) + TEXTS_A_BIN * len(expected) * expected)
    return round(float(((found - expected) * np.log(found / expected)).sum()), _DIGITS)


def _shares(texts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    shares: npt.NDArray[np.float64] = texts / texts.sum()
    return shares


def _share(part: float, whole: int) -> float:
    return round(part / whole, _DIGITS) if whole else 0.0
