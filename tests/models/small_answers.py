"""A classifier that is told its answers, for figures that can be known beforehand."""

from collections.abc import Mapping, Sequence

from models.reading import Span
from schemas.predictions import Classification, Prediction
from schemas.records import Kind
from schemas.taxonomy import SENTIMENT, Task, Taxonomy, load_taxonomy


class Told:
    """Answers every text with the labels that stand in it as <label>, with the confidence given
    for the text, and the first label of tasks of which none stands there. A company's answer is by
    the words at its place. Words are tokens."""

    version = "told"

    def __init__(
        self,
        confidences: Mapping[str, float] | None = None,
        taxonomy: Taxonomy | None = None,
    ) -> None:
        self.taxonomy = taxonomy or load_taxonomy()
        self._confidences = confidences or {}

    def classify(
        self,
        texts: Sequence[str],
        kinds: Sequence[Kind],
        companies: Sequence[Sequence[Span]] | None = None,
    ) -> list[Classification]:
        return [
            Classification(
                predictions={
                    task.name: self._predict(task, text) for task in self.taxonomy.for_kind(kind)
                },
                truncated=False,
                tokens=len(text.split()),
                model_version=self.version,
                companies=tuple(
                    self._predict(self.taxonomy.tasks[SENTIMENT], text[start:end])
                    for start, end in own
                ),
            )
            for text, kind, own in zip(texts, kinds, companies or [()] * len(texts), strict=True)
        ]

    def _predict(self, task: Task, text: str) -> Prediction:
        label = next((each for each in task.labels if f"<{each}>" in text), task.labels[0])
        sure = self._confidences.get(text, 0.9)
        rest = (1 - sure) / (len(task.labels) - 1)
        return Prediction.most_likely(
            task.labels, tuple(sure if each == label else rest for each in task.labels)
        )
