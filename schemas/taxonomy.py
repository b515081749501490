"""The label sets. They are a file, taxonomy.yaml beside this module or one that the user names."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import orjson
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from schemas.records import Kind
from schemas.yaml_files import YamlDocument, load_yaml

SENTIMENT = "news.sentiment"
TOPIC = "news.topic"
INTENT = "message.intent"
EMOTION = "message.emotion"
OTHER = "other"
# Not a task of its own: the sentiment of a text for one company.
COMPANY_SENTIMENT = "news.sentiment of a company"

_SHIPPED = Path(__file__).with_name("taxonomy.yaml")
_KINDS = {
    SENTIMENT: Kind.NEWS,
    TOPIC: Kind.NEWS,
    INTENT: Kind.MESSAGE,
    EMOTION: Kind.MESSAGE,
}
# Labels on which the documents' meaning stands.
_REQUIRED_LABELS = {SENTIMENT: ("negative", "positive"), INTENT: (OTHER,)}

_Label = Annotated[str, StringConstraints(min_length=1, max_length=128)]


class _TaskEntry(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    kind: str
    labels: list[_Label]


class _TaxonomyFile(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    tasks: dict[str, _TaskEntry]
    emotion_sentiment: dict[str, str]


@dataclass(frozen=True, slots=True)
class Task:
    """One question to the model; `labels` stand in the order of its outputs."""

    name: str
    kind: Kind
    labels: tuple[str, ...]

    @property
    def field(self) -> str:
        """The document's field with the answer: the last part of the name."""
        return self.name.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """The tasks by name, and which sentiment each emotion makes.

    `version` is 12 hexadecimal digits over the content: comments and layout do not change it.
    """

    tasks: Mapping[str, Task]
    emotion_sentiment: Mapping[str, str]
    version: str = field(init=False)

    def __post_init__(self) -> None:
        tasks = [[task.name, task.kind, task.labels] for task in self.tasks.values()]
        content = [tasks, sorted(self.emotion_sentiment.items())]
        object.__setattr__(self, "version", sha256(orjson.dumps(content)).hexdigest()[:12])

    def for_kind(self, kind: Kind) -> tuple[Task, ...]:
        """The tasks of one kind of record, in the file's order."""
        return tuple(task for task in self.tasks.values() if task.kind is kind)


def load_taxonomy(path: Path | None = None) -> Taxonomy:
    """The shipped taxonomy, or the one at `path`.

    Raises ConfigurationError with file, line and reason.
    """
    document = load_yaml(path or _SHIPPED)
    try:
        content = _TaxonomyFile.model_validate(document.data)
    except ValidationError as error:
        raise document.invalid(error) from None
    tasks = {name: _task(document, name, entry) for name, entry in content.tasks.items()}
    for name in _KINDS:
        if name not in tasks:
            raise document.error(f"the task {name} is missing", ["tasks"])
    _check_emotions(document, tasks, content.emotion_sentiment)
    return Taxonomy(tasks, content.emotion_sentiment)


def _task(document: YamlDocument, name: str, entry: _TaskEntry) -> Task:
    at = ("tasks", name)
    kind = _KINDS.get(name)
    if kind is None:
        raise document.error(f"not a known task: the tasks are {', '.join(_KINDS)}", at)
    if entry.kind != kind:
        raise document.error(f"'{entry.kind}', expected {kind}", (*at, "kind"))
    _check_labels(document, name, entry.labels)
    return Task(name, kind, tuple(entry.labels))


def _check_labels(document: YamlDocument, name: str, labels: list[str]) -> None:
    at = ("tasks", name, "labels")
    if len(labels) < 2:
        raise document.error("a task needs at least two labels", at)
    for position, label in enumerate(labels):
        if label in labels[:position]:
            raise document.error(f"'{label}' is given twice", (*at, position))
    for label in _REQUIRED_LABELS.get(name, ()):
        if label not in labels:
            raise document.error(f"the label {label} is missing: {name} needs it", at)


def _check_emotions(
    document: YamlDocument, tasks: Mapping[str, Task], sentiments: Mapping[str, str]
) -> None:
    at = "emotion_sentiment"
    for emotion in tasks[EMOTION].labels:
        if emotion not in sentiments:
            raise document.error(f"the emotion {emotion} has no sentiment", [at])
    for emotion, sentiment in sentiments.items():
        if emotion not in tasks[EMOTION].labels:
            raise document.error(f"not a label of {EMOTION}", [at, emotion])
        if sentiment not in tasks[SENTIMENT].labels:
            raise document.error(f"'{sentiment}' is not a label of {SENTIMENT}", [at, emotion])
