"""How grave an event is, from 0 to 1, by a formula over the model's probabilities.

News, with the weights w of risk.yaml and v the weight of the headline's severest word (0: none):

    stake    = Σ P(topic) · w(topic)
    negative = P(negative) + neutral_share · v · P(neutral)
    risk     = negative · (stake + (1 - stake) · v)

A customer's message:

    stake = Σ P(intent) · w(intent)
    upset = Σ P(emotion) · w(emotion)
    risk  = 1 - (1 - stake) · (1 - upset_share · upset)

Expectations over all labels are used rather than the likeliest label, so that an unsure answer has
an unsure risk. Both formulas stay within [0, 1] as all weights do.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import mul
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.predictions import Classification, Prediction
from schemas.records import NewsRecord, Record
from schemas.taxonomy import EMOTION, INTENT, SENTIMENT, TOPIC, Taxonomy
from schemas.yaml_files import YamlDocument, load_yaml

_SHIPPED = Path(__file__).with_name("risk.yaml")
_DEFAULT = "default"
# Where each task's weights stand in the file.
_AT = {
    TOPIC: ("news", "topics"),
    INTENT: ("message", "intents"),
    EMOTION: ("message", "emotions"),
}
_WORD = re.compile(r"[a-z]+")

_Share = Annotated[float, Field(ge=0, le=1)]
_Word = Annotated[str, Field(pattern=r"^[a-z]+$")]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class _SevereWords(_Strict):
    weight: _Share
    words: list[_Word]


class _News(_Strict):
    topics: dict[str, _Share]
    neutral_share: _Share
    severe_words: list[_SevereWords]


class _Message(_Strict):
    intents: dict[str, _Share]
    emotions: dict[str, _Share]
    upset_share: _Share


class _RiskFile(_Strict):
    news: _News
    message: _Message


@dataclass(frozen=True, slots=True)
class RiskModel:
    """The weights; those of labels stand in the order of the taxonomy's labels."""

    negative: tuple[float, ...]
    neutral: tuple[float, ...]
    labels: Mapping[str, tuple[float, ...]]
    words: Mapping[str, float]
    upset_share: float

    @classmethod
    def load(cls, path: Path | None, taxonomy: Taxonomy) -> "RiskModel":
        """The shipped weights, or those at `path`.

        Raises ConfigurationError with file, line and reason, also for a label that the taxonomy
        does not have. The shipped weights fit any taxonomy: a label of its own has the default.
        """
        document = load_yaml(path or _SHIPPED)
        try:
            content = _RiskFile.model_validate(document.data)
        except ValidationError as error:
            raise document.invalid(error) from None
        if path is not None:
            _check_labels(document, taxonomy)
        share = content.news.neutral_share
        return cls(
            negative=_weights(taxonomy, SENTIMENT, {"negative": 1.0}),
            neutral=_weights(taxonomy, SENTIMENT, {"neutral": share}),
            labels={
                task: _weights(taxonomy, task, document.section(at)) for task, at in _AT.items()
            },
            words=_by_word(content.news.severe_words),
            upset_share=content.message.upset_share,
        )

    def score(self, record: Record, classification: Classification) -> float:
        """The risk of a record, from 0 to 1, given what the model says of it."""
        predictions = classification.predictions
        if isinstance(record, NewsRecord):
            return self._news(record.headline, predictions)
        return self._message(predictions)

    def _news(self, headline: str, predictions: Mapping[str, Prediction]) -> float:
        severity = _severity(headline, self.words)
        sentiment = predictions[SENTIMENT].probabilities
        negative = _expected(self.negative, sentiment)
        negative += severity * _expected(self.neutral, sentiment)
        stake = self._expected_weight(TOPIC, predictions)
        return _bounded(negative * (stake + (1 - stake) * severity))

    def _message(self, predictions: Mapping[str, Prediction]) -> float:
        stake = self._expected_weight(INTENT, predictions)
        upset = self._expected_weight(EMOTION, predictions)
        return _bounded(1 - (1 - stake) * (1 - self.upset_share * upset))

    def _expected_weight(self, task: str, predictions: Mapping[str, Prediction]) -> float:
        return _expected(self.labels[task], predictions[task].probabilities)


def _expected(weights: tuple[float, ...], probabilities: tuple[float, ...]) -> float:
    expected: float = sum(map(mul, weights, probabilities))
    return expected


def _severity(text: str, words: Mapping[str, float]) -> float:
    return max((words[word] for word in _WORD.findall(text.lower()) if word in words), default=0.0)


def _bounded(risk: float) -> float:
    """Probabilities that are rounded may sum to a hair over 1."""
    return min(max(risk, 0.0), 1.0)


def _weights(taxonomy: Taxonomy, task: str, named: Mapping[str, float]) -> tuple[float, ...]:
    default = named.get(_DEFAULT, 0.0)
    return tuple(float(named.get(label, default)) for label in taxonomy.tasks[task].labels)


def _by_word(groups: Sequence[_SevereWords]) -> dict[str, float]:
    """A word that stands in several groups has its greatest weight."""
    ordered = sorted(groups, key=lambda group: group.weight)
    return {word: group.weight for group in ordered for word in group.words}


def _check_labels(document: YamlDocument, taxonomy: Taxonomy) -> None:
    for task, at in _AT.items():
        known = {*taxonomy.tasks[task].labels, _DEFAULT}
        for label in document.section(at):
            if label not in known:
                raise document.error(f"not a label of {task}", (*at, label))
