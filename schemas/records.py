"""What arrives on Kafka: news, customers' messages and people's feedback."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict

from schemas.fields import (
    Body,
    Headline,
    Id,
    Instant,
    Language,
    MessageText,
    Name,
    RecordText,
    ShortText,
    SourceName,
    Symbols,
    Url,
)


class Kind(StrEnum):
    """Which of the two streams a record belongs to."""

    NEWS = "news"
    MESSAGE = "message"

    @property
    def stream(self) -> str:
        """The stream's name, without namespace."""
        return "financial-news" if self is Kind.NEWS else "customer-messages"


class Channel(StrEnum):
    EMAIL = "email"
    CHAT = "chat"
    PHONE = "phone"
    SOCIAL = "social"
    APP = "app"
    OTHER = "other"


def news_text(headline: str, body: str | None) -> str:
    """The text of a piece of news: the headline, a blank line and the body if there is one."""
    return f"{headline}\n\n{body}" if body else headline


class Received(BaseModel):
    # Strict: the text "1" is not the number 1, nor the other way round.
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class NewsRecord(Received):
    """One piece of financial news. `published_at` is in UTC."""

    id: Id
    published_at: Instant
    headline: Headline
    body: Body = None
    source: SourceName
    url: Url = None
    symbols: Symbols = None
    language: Language = None

    kind: ClassVar[Kind] = Kind.NEWS

    @property
    def event_time(self) -> datetime:
        return self.published_at

    @property
    def text(self) -> str:
        """What the model reads."""
        return news_text(self.headline, self.body)


class MessageRecord(Received):
    """One message of a customer. `sent_at` is in UTC."""

    id: Id
    sent_at: Instant
    customer_id: Id
    channel: Annotated[
        Channel,
        Strict(False),  # JSON has no enumerations: the text is the value
        Field(description="one of email, chat, phone, social, app, other"),
    ]
    text: MessageText
    conversation_id: ShortText = None
    language: Language = None

    kind: ClassVar[Kind] = Kind.MESSAGE

    @property
    def event_time(self) -> datetime:
        return self.sent_at


class FeedbackRecord(Received):
    """What a person says the label of an event is; a null `label` takes it back."""

    id: Id
    event_id: Id
    stream: Annotated[
        Literal["financial-news", "customer-messages"],
        Field(description="one of financial-news, customer-messages"),
    ]
    task: Name
    label: Annotated[
        Name | None,
        Field(description="text of 1 to 256 characters, or null to take the label back"),
    ]
    entity: ShortText = None
    annotator: Name
    given_at: Instant
    selection: Annotated[
        Literal["correction", "audit", "active"] | None,
        Field(description="one of correction, audit, active"),
    ] = None
    text: RecordText = None


Record = NewsRecord | MessageRecord
RECORD_TYPES: dict[Kind, type[NewsRecord] | type[MessageRecord]] = {
    Kind.NEWS: NewsRecord,
    Kind.MESSAGE: MessageRecord,
}

# `text` is what many call a headline, too.
_OWN_FIELDS = {
    Kind.NEWS: set(NewsRecord.model_fields) - set(MessageRecord.model_fields),
    Kind.MESSAGE: set(MessageRecord.model_fields) - set(NewsRecord.model_fields) - {"text"},
}


def evident_kind(record: Mapping[str, Any]) -> Kind | None:
    """The kind of which a record has more fields that only that kind has; None where neither
    has more."""
    given = {name for name, value in record.items() if value is not None}
    news, message = (len(given & _OWN_FIELDS[kind]) for kind in (Kind.NEWS, Kind.MESSAGE))
    if news == message:
        return None
    return Kind.NEWS if news > message else Kind.MESSAGE
