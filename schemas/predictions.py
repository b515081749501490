"""The model's answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from schemas.taxonomy import SENTIMENT, Taxonomy

# Of an answer to a text in a language that the model does not know: as likely wrong as right.
MAX_FOREIGN_CONFIDENCE = 0.5
_DIGITS = 6


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

    def doubted(self) -> "Prediction":
        """Mixed with the uniform distribution until no label has more than MAX_FOREIGN_CONFIDENCE;
        the label stays."""
        even = 1 / len(self.labels)
        if self.confidence <= max(MAX_FOREIGN_CONFIDENCE, even):
            return self
        share = (MAX_FOREIGN_CONFIDENCE - even) / (self.confidence - even)
        mixed = [round(even + share * (p - even), _DIGITS) for p in self.probabilities]
        confidence = mixed[self.labels.index(self.label)]
        return Prediction(self.label, confidence, self.labels, tuple(mixed))

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
    `tokens` is what the model read, of which `unknown_tokens` are in no vocabulary; `truncated`
    says that the text was longer than its window.
    `foreign_language` is the code of the text's language where the model does not know that (`und`
    where nobody knows which it is); every answer is `doubted` then.
    """

    predictions: Mapping[str, Prediction]
    truncated: bool
    tokens: int
    model_version: str
    companies: tuple[Prediction, ...] = ()
    foreign_language: str | None = None
    unknown_tokens: int = 0

    def doubted(self, language: str) -> "Classification":
        """The same answers to a text in a language that the model does not know."""
        return replace(
            self,
            predictions={name: answer.doubted() for name, answer in self.predictions.items()},
            companies=tuple(answer.doubted() for answer in self.companies),
            foreign_language=language,
        )


def sentiment_of_emotion(emotion: Prediction, taxonomy: Taxonomy) -> Prediction:
    """A message's sentiment: each sentiment's probability is the sum over the emotions that make
    it; of equal sums the first label wins."""
    labels = taxonomy.tasks[SENTIMENT].labels
    sums = dict.fromkeys(labels, 0.0)
    for label, probability in zip(emotion.labels, emotion.probabilities, strict=True):
        sums[taxonomy.emotion_sentiment[label]] += probability
    return Prediction.most_likely(labels, tuple(sums.values()))
