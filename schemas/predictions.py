"""The model's answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.taxonomy import SENTIMENT, Taxonomy


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer to one task. `probabilities` belong to `labels` and sum to 1; `confidence` is
    the probability of `label`."""

    label: str
    confidence: float
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]

    @classmethod
    def most_likely(cls, labels: Sequence[str], probabilities: Sequence[float]) -> "Prediction":
        """The label with the greatest probability; of equal ones the first."""
        best = max(range(len(labels)), key=probabilities.__getitem__)
        return cls(labels[best], probabilities[best], tuple(labels), tuple(probabilities))

    def probability(self, label: str) -> float:
        """Raises KeyError if the task has no such label."""
        try:
            return self.probabilities[self.labels.index(label)]
        except ValueError:
            raise KeyError(label) from None

    def as_dict(self) -> dict[str, Any]:
        """As `classify` prints it."""
        return {
            "label": self.label,
            "confidence": self.confidence,
            "probabilities": dict(zip(self.labels, self.probabilities, strict=True)),
        }


@dataclass(frozen=True, slots=True)
class Classification:
    """All answers about one record: by task name, for the tasks of its kind only.

    `companies` are the sentiments for the companies that were asked about, in that order.
    `tokens` is what the model read; `truncated` says that the text was longer than its window.
    """

    predictions: Mapping[str, Prediction]
    truncated: bool
    tokens: int
    model_version: str
    companies: tuple[Prediction, ...] = ()


def sentiment_of_emotion(emotion: Prediction, taxonomy: Taxonomy) -> Prediction:
    """A message's sentiment: each sentiment's probability is the sum over the emotions that make
    it; of equal sums the first label wins."""
    labels = taxonomy.tasks[SENTIMENT].labels
    sums = dict.fromkeys(labels, 0.0)
    for label, probability in zip(emotion.labels, emotion.probabilities, strict=True):
        sums[taxonomy.emotion_sentiment[label]] += probability
    return Prediction.most_likely(labels, tuple(sums.values()))
