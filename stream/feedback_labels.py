"""From feedback and the documents of its events to what is written: labels, and marks on documents.

Pure, but for the time that masking takes.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from models.masking import masked
from schemas.documents import answer_of, text_of
from schemas.errors import RecordRejected
from schemas.human import HumanLabel
from schemas.labels import LabelRecord, ModelAnswer, label_key
from schemas.records import FeedbackRecord, Kind
from schemas.taxonomy import Task
from stream.document_store import StoredDocument
from stream.event_documents import Documents, EventKey
from stream.events import Incoming
from stream.feedback_checks import check_company, no_such_event
from stream.ledger import Ticket
from stream.topic_writer import Outgoing


@dataclass(slots=True, eq=False)
class Opinion:
    """Checked feedback under way. `looks` counts how often its event was looked for."""

    incoming: Incoming
    ticket: Ticket
    feedback: FeedbackRecord
    task: Task
    looks: int = 0

    @property
    def event(self) -> EventKey:
        return EventKey(self.feedback.stream, self.feedback.event_id)

    @property
    def key(self) -> bytes:
        """The label's key; feedback under the same keeps its order."""
        said = self.feedback
        return label_key(said.task, said.event_id, said.entity, said.annotator)

    @property
    def own_text(self) -> str | None:
        text = self.feedback.text
        return text if text and not text.isspace() else None

    @property
    def needs_event(self) -> bool:
        """Whether it is of no use without a document: it has no text, and withdraws nothing."""
        return self.feedback.label is not None and self.own_text is None

    @property
    def human_label(self) -> HumanLabel:
        """As it stands on the event's document."""
        said = self.feedback
        return HumanLabel(said.task, said.entity or None, said.annotator, said.label, said.given_at)


@dataclass(slots=True)
class Labelling:
    """What comes of a batch of opinions. `outgoing` is for the topic of labels and `marks` for the
    documents, both in the order of the opinions. Beside an accepted one stands whether it differs
    from the model's answer; None where that is not known."""

    accepted: list[tuple[Opinion, bool | None]] = field(default_factory=list)
    rejected: list[tuple[Opinion, RecordRejected]] = field(default_factory=list)
    outgoing: list[Outgoing] = field(default_factory=list)
    marks: dict[EventKey, list[HumanLabel]] = field(default_factory=lambda: defaultdict(list))


def labelling(opinions: Sequence[Opinion], documents: Documents) -> Labelling:
    """Texts and answers come from the events' documents; where there is none, the text is the
    feedback's own. What the same annotator has overruled already is accepted and not written."""
    made = Labelling()
    for opinion in opinions:
        document = documents.get(opinion.event)
        try:
            record = _record(opinion, document)
        except RecordRejected as rejection:
            made.rejected.append((opinion, rejection))
            continue
        differs = record.model.label != record.label if record and record.model else None
        made.accepted.append((opinion, differs))
        if not _is_overruled(opinion, document, made):
            value = record.to_json() if record else None
            made.outgoing.append(Outgoing(opinion.key, value))
        if document:
            made.marks[opinion.event].append(opinion.human_label)
    return made


def _is_overruled(opinion: Opinion, document: StoredDocument | None, made: Labelling) -> bool:
    """Whether a newer label under the same key stands on the document or goes there before."""
    if document is None:
        return False
    source = document.source
    for mark in made.marks.get(opinion.event, ()):
        source = mark.on(source)
    return opinion.human_label.is_stale(source)


def _record(opinion: Opinion, document: StoredDocument | None) -> LabelRecord | None:
    """The label to store; None where it is withdrawn. Raises RecordRejected."""
    said, task = opinion.feedback, opinion.task
    if said.label is None:
        return None
    text = text_of(document.source, task.kind) if document else opinion.own_text
    if text is None:  # the document is gone since it was found
        raise no_such_event(said)
    check_company(said, text)
    return LabelRecord(
        task=said.task,
        event_id=said.event_id,
        entity=said.entity or None,
        annotator=said.annotator,
        stream=said.stream,
        label=said.label,
        text=masked(text) if task.kind is Kind.MESSAGE else text,
        model=_model_answer(opinion, document),
        conversation_id=document.source.get("conversation_id") if document else None,
        selection=said.selection,
        given_at=said.given_at,
        feedback_id=said.id,
    )


def _model_answer(opinion: Opinion, document: StoredDocument | None) -> ModelAnswer | None:
    """What the model said of the whole text; nothing is known of a company's own."""
    if document is None or opinion.feedback.entity:
        return None
    answer = answer_of(document.source, opinion.task)
    version = document.source.get("model_version")
    if answer is None or version is None:
        return None
    return ModelAnswer(
        label=answer["label"], confidence=float(answer["confidence"]), version=version
    )
