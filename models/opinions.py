"""A label as somebody gave it, the question it answers, and the lesson that comes of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from models.data import Example, Split, company_span
from models.reading import Span
from schemas.taxonomy import COMPANY_SENTIMENT, SENTIMENT, Taxonomy

# The source of examples that are lessons.
LESSONS = "feedback"

Question = tuple[str, str, Span | None]


@dataclass(frozen=True, slots=True)
class GivenLabel:
    """A record of the topic `labels`.

    entity: the company's name as it stands in the text; empty for the label of the whole text.
    given_at: by the broker's clock rather than the annotator's, since floods are told by it.
    selection: correction, audit or active.
    model_label: what the model of that day had answered, if it is known.
    conversation: of a message; texts of one conversation are never divided. Empty if there is none.
    """

    task: str
    event_id: str
    entity: str
    annotator: str
    label: str
    text: str
    given_at: datetime
    selection: str = "correction"
    model_label: str | None = None
    conversation: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What one annotator can say only once."""
        return self.task, self.event_id, self.entity, self.annotator

    @property
    def order(self) -> tuple[datetime, str, str, str, str, str, str]:
        """From the oldest to the newest, the same whatever order labels come in."""
        return (self.given_at, *self.key, self.label, self.text)


@dataclass(frozen=True, slots=True)
class Opinion:
    """A usable label.

    task: a task's name, or COMPANY_SENTIMENT with the company's place in the text.
    believed, sure: the champion's label for the same question and its confidence.
    """

    given: GivenLabel
    task: str
    span: Span | None
    believed: str = ""
    sure: float = 0.0

    @property
    def question(self) -> Question:
        return self.task, self.given.text, self.span

    @property
    def contradicts(self) -> bool:
        return self.given.label != self.believed


@dataclass(frozen=True, slots=True)
class Lesson:
    """A text with the label that a run is to learn.

    weight: how much it counts beside one text; see `LessonSettings`.
    group: texts of one group are nearly the same or of one conversation, and stay together.
    believed, sure: the champion's label and its confidence.
    given: the labels it stands on, from the oldest to the newest.
    """

    text: str
    task: str
    label: str
    span: Span | None = None
    selection: str = "correction"
    annotators: tuple[str, ...] = ()
    believed: str = ""
    sure: float = 0.0
    weight: float = 1.0
    group: str = ""
    given: tuple[GivenLabel, ...] = ()

    @property
    def contradicts(self) -> bool:
        return self.label != self.believed

    @property
    def conversations(self) -> set[str]:
        """Those in which the text was said; the same words may come in several."""
        return {given.conversation for given in self.given if given.conversation}


@dataclass(frozen=True, slots=True)
class SetAside:
    """A label that is not learnt from, and why."""

    given: GivenLabel
    reason: str


def as_examples(lessons: Iterable[Lesson]) -> list[Example]:
    """The lessons as texts to be read or answered; those of companies are a set of their own."""
    return [
        Example(
            each.text,
            each.label,
            each.task,
            f"{LESSONS} of companies" if each.span else LESSONS,
            Split.TRAIN,
            each.span,
        )
        for each in lessons
    ]


def opinion(given: GivenLabel, taxonomy: Taxonomy) -> Opinion | str:
    """The label as an answer to a question of the taxonomy, or why it is none."""
    if given.task not in taxonomy.tasks:
        return f"there is no task {given.task!r}"
    if given.label not in taxonomy.tasks[given.task].labels:
        return f"{given.task} has no label {given.label!r}"
    if not given.text.strip():
        return "the text is not known"
    if not given.entity:
        return Opinion(given, given.task, None)
    if given.task != SENTIMENT:
        return f"{given.task} is not asked of companies"
    span = company_span(given.text, given.entity)
    if span is None:
        return "the company does not stand in the text"
    return Opinion(given, COMPANY_SENTIMENT, span)
