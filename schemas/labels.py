"""What people say the labels of events are, as it stands in the compacted topic `labels`.

A record's key says which label it is: one task, event, company and annotator. A later record under
the key takes the place of an earlier one, and a null value (a tombstone) erases it. Where both
are still there, the one with the later `given_at` is the newer: records may arrive out of order.
"""

from typing import Literal, NamedTuple, Self
from urllib.parse import quote, unquote_to_bytes

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.errors import Reason, RecordRejected
from schemas.fields import Id, Instant, Name, ShortText, explain


class LabelKey(NamedTuple):
    """Whose label it is, of what; `entity` is None for the label of the whole text."""

    task: str
    event_id: str
    entity: str | None
    annotator: str


def label_key(task: str, event_id: str, entity: str | None, annotator: str) -> bytes:
    """task/event_id/entity/annotator, each URL-quoted without safe characters; the entity may be
    empty."""
    return "/".join(
        quote(part, safe="") for part in (task, event_id, entity or "", annotator)
    ).encode()


def parse_label_key(key: bytes) -> LabelKey:
    """What `label_key` made a key of. Raises RecordRejected for a key that it cannot have made."""
    quoted = key.split(b"/")
    try:
        task, event_id, entity, annotator = (unquote_to_bytes(part).decode() for part in quoted)
    except ValueError:  # other than four parts, or no UTF-8
        expected = "expected task/event_id/entity/annotator, each URL-quoted"
        raise RecordRejected(Reason.INVALID, f"no key of a label, {expected}") from None
    return LabelKey(task, event_id, entity or None, annotator)


class ModelAnswer(BaseModel):
    """What the model answered to the label's task; `version` is the model's."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    label: Name
    confidence: float
    version: Name


class LabelRecord(BaseModel):
    """A person's label of an event, with the event's text.

    `text` is what the model reads of the event; in a customer's, personal data is masked. `model`
    is the answer on the event's document, None where there is no document or, as for a company,
    no answer. `conversation_id` is the message's, as its document has it; records written before
    it was kept have none. `feedback_id` is the id of the feedback that this came of.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    task: Name
    event_id: Id
    entity: ShortText = None
    annotator: Name
    stream: Literal["financial-news", "customer-messages"]
    label: Name
    text: str
    model: ModelAnswer | None = None
    conversation_id: ShortText = None
    selection: Literal["correction", "audit", "active"] | None = None
    given_at: Instant
    feedback_id: Id

    @property
    def key(self) -> bytes:
        """The record's key in the topic."""
        return label_key(self.task, self.event_id, self.entity, self.annotator)

    def to_json(self) -> bytes:
        """The record's value in the topic."""
        return orjson.dumps(self.model_dump(mode="json"))

    @classmethod
    def from_json(cls, value: bytes) -> Self:
        """What `to_json` wrote. Raises RecordRejected for what is no label; its sentence holds no
        text of a customer."""
        try:
            return cls.model_validate(orjson.loads(value))
        except orjson.JSONDecodeError:
            problem = "not JSON"
        except ValidationError as error:
            problem = explain(error, cls)
        raise RecordRejected(Reason.INVALID, f"not a label of this service: {problem}")
