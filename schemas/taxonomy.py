"""The label sets. They are a file: taxonomy.yaml beside this module, that of a model bundle, or one
that the user names.

Four tasks are always there; documents, risk and rules stand on them. A user's own task is named
news.NAME or message.NAME, by the kind of record that it is asked of.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import orjson
import yaml
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from schemas.errors import ConfigurationError
from schemas.records import Kind
from schemas.yaml_files import YamlDocument, load_yaml

SENTIMENT = "news.sentiment"
TOPIC = "news.topic"
INTENT = "message.intent"
EMOTION = "message.emotion"
OTHER = "other"
# Not a task of its own: the sentiment of a text for one company.
COMPANY_SENTIMENT = "news.sentiment of a company"

BUILT_IN_TASKS = (SENTIMENT, TOPIC, INTENT, EMOTION)
LONGEST_LABEL = 128

_SHIPPED = Path(__file__).with_name("taxonomy.yaml")
_NAME = re.compile(r"(news|message)\.[a-z][a-z0-9_]{0,62}")
_HOW_NAMED = "expected news.NAME or message.NAME, NAME of a-z, 0-9 and _"
# Labels on which the documents' meaning stands.
_REQUIRED_LABELS = {SENTIMENT: ("negative", "positive"), INTENT: (OTHER,)}

_Label = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_LABEL)]


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
    def built_in(self) -> bool:
        """Whether it is one of the four that are always there, not a user's own."""
        return self.name in BUILT_IN_TASKS

    @property
    def field(self) -> str:
        """The document's field with the answer of a built-in task: the last part of the name."""
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

    def with_task(self, task: Task) -> "Taxonomy":
        """The same with one task more, or with another one in its place."""
        return Taxonomy({**self.tasks, task.name: task}, self.emotion_sentiment)

    def with_labels(
        self, name: str, labels: Sequence[str], sentiment: str | None = None
    ) -> "Taxonomy":
        """The same with further labels of one task; `sentiment` is that of new emotions."""
        task = self.tasks[name]
        more = self.with_task(Task(name, task.kind, (*task.labels, *labels)))
        sentiments = dict.fromkeys(labels, sentiment) if sentiment else {}
        return Taxonomy(more.tasks, {**self.emotion_sentiment, **sentiments})

    def as_yaml(self) -> str:
        """As `load_taxonomy` reads it."""
        tasks = {
            task.name: {"kind": task.kind.value, "labels": list(task.labels)}
            for task in self.tasks.values()
        }
        content = {"tasks": tasks, "emotion_sentiment": dict(self.emotion_sentiment)}
        return yaml.safe_dump(content, allow_unicode=True, sort_keys=False)


def own_task_name(name: str, kind: Kind | None = None) -> str:
    """The full name of a user's task, given in full or without its kind.

    Raises ConfigurationError: a name that no task can have, no kind, or two different ones.
    """
    full = f"{kind}.{name}" if kind and "." not in name else name
    if kind is None and "." not in name:
        raise ConfigurationError(
            f"Say of which kind of record the task {name!r} is asked: news or message."
        )
    if not _NAME.fullmatch(full):
        raise ConfigurationError(f"{name!r} is no name for a task: {_HOW_NAMED}.")
    if kind is not None and _kind(full) is not kind:
        raise ConfigurationError(f"The task {full} is for {_kind(full)}, not for {kind}.")
    return full


def own_task(name: str, labels: Sequence[str]) -> Task:
    """A user's task by its full name."""
    return Task(name, _kind(name), tuple(labels))


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
    for name in BUILT_IN_TASKS:
        if name not in tasks:
            raise document.error(f"the task {name} is missing", ["tasks"])
    _check_emotions(document, tasks, content.emotion_sentiment)
    return Taxonomy(tasks, content.emotion_sentiment)


def _task(document: YamlDocument, name: str, entry: _TaskEntry) -> Task:
    at = ("tasks", name)
    if not _NAME.fullmatch(name):
        raise document.error(f"no name for a task: {_HOW_NAMED}", at)
    kind = _kind(name)
    if entry.kind != kind:
        raise document.error(f"'{entry.kind}', expected {kind}", (*at, "kind"))
    _check_labels(document, name, entry.labels)
    return Task(name, kind, tuple(entry.labels))


def _kind(name: str) -> Kind:
    """Of which kind of record a task is asked: its name begins with it."""
    return Kind(name.partition(".")[0])


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
