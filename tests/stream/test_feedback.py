"""The way of feedback on a real Kafka and a real Elasticsearch; its records are handed in."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from elasticsearch import AsyncElasticsearch

from schemas.arrival import Arrival
from schemas.dead_letters import DeadLetter
from schemas.documents import index_name, record_change
from schemas.labels import LabelRecord, label_key, parse_label_key
from schemas.origins import Origin
from schemas.records import RECORD_TYPES, Kind
from schemas.taxonomy import load_taxonomy, own_task
from stream import feedback
from stream.clients import make_elasticsearch
from stream.dead_letter_reader import read_dead_letters
from stream.dead_letters import DeadLetterWriter
from stream.document_store import DocumentStore
from stream.event_documents import EventDocuments
from stream.events import Incoming
from stream.feedback import FeedbackDesk, FeedbackParts
from stream.labels import read_labels
from stream.metrics import Metrics
from stream.settings import Settings, load_settings
from stream.topic_reader import read_topic
from stream.topic_writer import TopicWriter
from stream.topics import initialise
from tests.servers import Servers

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ARRIVAL = Arrival(NOW, by_broker=True, read_at=NOW)
NEWS, MESSAGES = "financial-news", "customer-messages"
TAXONOMY = load_taxonomy().with_task(own_task("news.esg", ["yes", "no"]))
DOCUMENTS: dict[str, dict[str, Any]] = {
    NEWS: {
        "headline": "Acme rises, Bolt falls",
        "body": "A long story.",
        "sentiment": {"label": "positive", "confidence": 0.9, "value": 0.8},
        "topic": {"label": "macro", "confidence": 0.7},
        "tasks": [{"task": "news.esg", "label": "no", "confidence": 0.6}],
        "model_version": "0123456789ab",
    },
    MESSAGES: {
        "text": "My name is Jane Doe, my card 4111 1111 1111 1111 is gone",
        "sentiment": {"label": "negative", "confidence": 0.9, "value": -0.8},
        "intent": {"label": "card_arrival", "confidence": 0.4},
        "emotion": {"label": "fear", "confidence": 0.7},
        "model_version": "0123456789ab",
    },
}


@dataclass
class Desk:
    """The desk with what it stands between."""

    settings: Settings
    client: AsyncElasticsearch
    store: DocumentStore
    metrics: Metrics = field(default_factory=Metrics)
    acknowledged: list[int] = field(default_factory=list)
    held: list[bool] = field(default_factory=list)
    crashes: list[BaseException] = field(default_factory=list)
    compared: list[tuple[str, bool]] = field(default_factory=list)
    submitted: int = 0
    written: int = 0
    desk: FeedbackDesk = field(init=False)

    def __post_init__(self) -> None:
        self.labels = TopicWriter(self.settings, "labels", 4 << 20, lambda: None)
        self.dead = DeadLetterWriter(self.settings, lambda: None)
        parts = FeedbackParts(
            taxonomy=lambda: TAXONOMY,
            compared=lambda task, differs: self.compared.append((task, differs)),
            documents=EventDocuments(self.client, self.store, self.settings.prefix),
            labels=self.labels,
            dead_letters=self.dead,
            metrics=self.metrics,
        )
        self.desk = FeedbackDesk(self.settings, parts, self.crashes.append, self.held.append)

    async def give(self, *records: dict[str, Any] | bytes) -> None:
        for record in records:
            value = record if isinstance(record, bytes) else orjson.dumps(record)
            offset = self.submitted
            self.submitted += 1

            def acknowledge(offset: int = offset) -> None:
                self.acknowledged.append(offset)

            topic = self.settings.topic("feedback")
            await self.desk.submit(
                Incoming(topic, 0, offset, 1, b"key", value, ARRIVAL, acknowledge)
            )

    async def settled(self, seconds: float = 30) -> None:
        """Wait until all is acknowledged, in order."""
        async with asyncio.timeout(seconds):
            while len(self.acknowledged) < self.submitted:
                assert not self.crashes
                await asyncio.sleep(0.02)
        assert self.acknowledged == list(range(self.submitted))

    async def put(self, stream: str, event_id: str, **changes: Any) -> None:
        """Write an event's document as the pipeline does."""
        kind = Kind.NEWS if stream == NEWS else Kind.MESSAGE
        doc = {"id": event_id, **DOCUMENTS[stream], **changes}
        given = {"published_at": NOW, "source": "wire"}
        given |= {"sent_at": NOW, "customer_id": "c", "channel": "chat"}
        record = RECORD_TYPES[kind].model_validate({**given, **doc})
        self.written += 1
        origin = Origin(stream, 0, self.written)
        change = record_change(record, doc | origin.fields(), origin, self.settings.prefix)
        assert (await self.store.put([change])).rejections == []
        await self.client.indices.refresh(index=change.place.index_name)

    async def document(self, stream: str, event_id: str) -> dict[str, Any]:
        index = index_name(self.settings.prefix, stream, NOW)
        return dict((await self.client.get(index=index, id=event_id))["_source"])

    async def human(self, stream: str, event_id: str) -> Any:
        return (await self.document(stream, event_id)).get("human")

    async def stored(self) -> dict[bytes, LabelRecord | None]:
        """The newest label under each key; None for a tombstone."""
        return {
            record.key: LabelRecord.from_json(record.value) if record.value else None
            async for record in read_topic(self.settings, "labels")
        }

    async def letters(self) -> list[DeadLetter]:
        return [letter async for letter in read_dead_letters(self.settings) if letter]

    def counted(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"bellwether_{name}", labels) or 0.0


@pytest.fixture
async def desk(servers: Servers, namespace: str) -> AsyncIterator[Desk]:
    given = {**servers.settings, "namespace": namespace, "kafka_partitions": 1}
    settings = load_settings(**given, feedback_wait_seconds=1.5)
    await initialise(settings)
    client = make_elasticsearch(settings)
    desk = Desk(settings, client, DocumentStore(client, lambda: None))
    desk.desk.start()
    yield desk
    await desk.desk.stop()
    await desk.labels.close()
    await desk.dead.close()
    await client.close()
    assert not desk.crashes


def said(event_id: str, label: str | None, second: int = 0, **changes: Any) -> dict[str, Any]:
    """Feedback on a headline's sentiment."""
    return {
        "id": f"f-{event_id}-{second}",
        "event_id": event_id,
        "stream": NEWS,
        "task": "news.sentiment",
        "label": label,
        "annotator": "ana",
        "given_at": f"2026-11-22T11:00:{second:02}Z",
        **changes,
    }


def intent(event_id: str, label: str | None, second: int = 0, **changes: Any) -> dict[str, Any]:
    of_message = {"stream": MESSAGES, "task": "message.intent", **changes}
    return said(event_id, label, second, **of_message)


SENTIMENT = "news.sentiment"


async def test_a_correction_becomes_a_label_and_a_mark(desk: Desk) -> None:
    await desk.put(NEWS, "n/1")
    before = await desk.document(NEWS, "n/1")
    await desk.give(said("n/1", "negative", selection="correction", text="not this one"))
    await desk.settled()

    ((key, record),) = (await desk.stored()).items()
    assert record is not None
    assert key == record.key == label_key(SENTIMENT, "n/1", None, "ana")
    assert record.text == "Acme rises, Bolt falls\n\nA long story."
    assert (record.label, record.selection, record.feedback_id) == (
        "negative",
        "correction",
        "f-n/1-0",
    )
    assert record.model is not None
    assert record.model.model_dump() == {
        "label": "positive",
        "confidence": 0.9,
        "version": "0123456789ab",
    }
    document = await desk.document(NEWS, "n/1")
    assert document.pop("human") == {"sentiment": "negative"}
    assert len(document.pop("human_labels")) == 1
    assert document == before
    assert desk.counted("feedback_total", task=SENTIMENT) == 1
    assert desk.counted("feedback_disagreement_total", task=SENTIMENT) == 1


async def test_a_customers_text_is_masked_and_its_conversation_kept(desk: Desk) -> None:
    await desk.put(MESSAGES, "m1", conversation_id="t-7")
    await desk.give(
        intent("m1", "lost_or_stolen_card"),
        intent("m2", "other", text="jane@example.org wants a loan"),
        intent("m1", "fear", task="message.emotion"),
    )
    await desk.settled()
    texts = {
        parse_label_key(key)[:2]: record.text
        for key, record in (await desk.stored()).items()
        if record
    }
    masked = "My name is [name], my card [card] is gone"
    assert texts == {
        ("message.intent", "m1"): masked,
        ("message.intent", "m2"): "[email] wants a loan",
        ("message.emotion", "m1"): masked,
    }
    assert await desk.human(MESSAGES, "m1") == {"intent": "lost_or_stolen_card", "emotion": "fear"}
    assert desk.counted("feedback_disagreement_total", task="message.emotion") == 0

    conversations = {
        (label.task, label.event_id): label.conversation
        for label in (await read_labels(desk.settings)).given()
    }
    assert conversations == {
        ("message.intent", "m1"): "t-7",
        ("message.intent", "m2"): "",
        ("message.emotion", "m1"): "t-7",
    }


async def test_what_comes_again_changes_nothing(desk: Desk) -> None:
    await desk.put(NEWS, "n1")
    records = [said("n1", "negative", 1), said("n1", "neutral", 2, annotator="bob")]
    await desk.give(*records)
    await desk.settled()
    document, labels = await desk.document(NEWS, "n1"), await desk.stored()
    await desk.give(*records, records[0], said("n1", "positive", 0))
    await desk.settled()
    assert await desk.document(NEWS, "n1") == document
    assert await desk.stored() == labels  # also against an older label of the same annotator


async def test_the_newest_label_counts_until_it_is_withdrawn(desk: Desk) -> None:
    await desk.put(NEWS, "n1")
    await desk.give(said("n1", "negative", 1), said("n1", "neutral", 2, annotator="bob"))
    await desk.settled()
    assert await desk.human(NEWS, "n1") == {"sentiment": "neutral"}
    await desk.give(said("n1", None, 3, annotator="bob"))
    await desk.settled()
    assert await desk.human(NEWS, "n1") == {"sentiment": "negative"}
    await desk.give(said("n1", None, 4))
    await desk.settled()
    assert "human" not in await desk.document(NEWS, "n1")
    assert list((await desk.stored()).values()) == [None, None]


async def test_companies_and_own_tasks_have_labels_and_no_mark(desk: Desk) -> None:
    await desk.put(NEWS, "n1")
    await desk.give(
        said("n1", "positive", entity="acme"),
        said("n1", "negative", entity="Bolt"),
        said("n1", "yes", task="news.esg"),
    )
    await desk.settled()
    stored = {(r.task, r.entity): r.model for r in (await desk.stored()).values() if r}
    assert stored.keys() == {(SENTIMENT, "acme"), (SENTIMENT, "Bolt"), ("news.esg", None)}
    assert stored[SENTIMENT, "acme"] is None
    own = stored["news.esg", None]
    assert own is not None
    assert own.label == "no"
    assert await desk.human(NEWS, "n1") is None
    assert desk.counted("feedback_disagreement_total", task=SENTIMENT) == 0


INVALID: dict[str, tuple[dict[str, Any] | bytes, str]] = {
    "no JSON": (b"{", "not JSON"),
    "no event id": (said("", "negative"), "event_id: 0 bytes, expected text of 1 to 256 bytes"),
    "unknown task": (said("n1", "yes", task="secret"), "expected a task of financial-news: news."),
    "other stream": (said("n1", "joy", task="message.emotion"), "expected a task of financial-"),
    "label": (said("n1", "secret"), "expected one of negative, neutral, positive"),
    "intent": (intent("m1", "secret"), "expected one of its 78 labels, of which the"),
    "own label": (said("n1", "other", task="news.esg"), "expected one of yes, no"),
    "entity": (said("n1", "macro", task="news.topic", entity="Acme"), "expected with news.sent"),
    "company": (said("n1", "negative", entity="secret"), "entity: not in the event's text"),
    "no event": (said("secret", "negative"), "event_id: no such event in financial-news"),
}


async def test_what_cannot_be_used_is_a_dead_letter_that_says_why(desk: Desk) -> None:
    await desk.put(NEWS, "n1")
    await desk.give(*(record for record, _ in INVALID.values()), said("n1", "negative"))
    await desk.settled()
    letters = {letter.offset: letter for letter in await desk.letters()}
    for offset, (_, expected) in enumerate(INVALID.values()):
        assert expected in letters[offset].message
        assert "secret" not in letters[offset].message
    assert len(letters) == len(INVALID)
    assert len(await desk.stored()) == 1
    assert desk.counted("dead_letters_total", reason="invalid") == len(INVALID) - 1


async def test_an_unknown_event_is_waited_for_and_holds_nobody_up(desk: Desk) -> None:
    await desk.put(NEWS, "n1")
    await desk.give(said("late", "negative"), said("never", "negative"), said("n1", "negative"))
    async with asyncio.timeout(10):
        while await desk.human(NEWS, "n1") is None:
            await asyncio.sleep(0.02)
    assert desk.acknowledged == []
    await desk.put(NEWS, "late")
    await desk.settled()
    assert await desk.human(NEWS, "late") == {"sentiment": "negative"}
    (letter,) = await desk.letters()
    assert (letter.offset, letter.key, letter.reason) == (1, b"key", "invalid")
    assert len(await desk.stored()) == 2


async def test_a_withdrawal_does_not_overtake_the_label_that_waits(desk: Desk) -> None:
    await desk.give(
        said("late", "negative", 1), said("late", None, 2), said("other", None), said("own", None)
    )
    await asyncio.sleep(0.3)
    assert label_key(SENTIMENT, "late", None, "ana") not in await desk.stored()
    await desk.put(NEWS, "late")
    await desk.settled()
    assert set((await desk.stored()).values()) == {None}
    assert "human" not in await desk.document(NEWS, "late")


async def test_a_text_of_its_own_is_enough(desk: Desk) -> None:
    await desk.give(said("n9", "negative", text="Acme sinks", entity="Acme"))
    await desk.settled(5)
    (record,) = (await desk.stored()).values()
    assert record is not None
    assert (record.text, record.entity, record.model) == ("Acme sinks", "Acme", None)


async def test_an_event_that_is_on_its_way_is_marked_all_the_same(desk: Desk) -> None:
    """A tool may send the text with each label, and both at once with the event."""
    await desk.give(said("soon", "negative", text="Acme sinks"))
    await asyncio.sleep(0.5)
    await desk.put(NEWS, "soon")
    await desk.settled()
    (record,) = (await desk.stored()).values()
    assert record is not None
    assert record.model is not None
    assert (await desk.document(NEWS, "soon"))["human"] == {"sentiment": "negative"}


async def test_the_pipeline_and_people_write_the_same_document(desk: Desk) -> None:
    await desk.put(NEWS, "n1")

    async def pipeline() -> None:
        for turn in range(40):
            await desk.put(NEWS, "n1", risk=turn)

    annotators = [f"a{number}" for number in range(40)]

    async def people() -> None:
        for name in annotators:
            await desk.give(said("n1", "negative", annotator=name))
            await asyncio.sleep(0.02)

    await asyncio.gather(pipeline(), people())
    await desk.settled(60)
    document = await desk.document(NEWS, "n1")
    assert document["risk"] == 39
    assert [each["annotator"] for each in document["human_labels"]] == annotators
    await desk.put(NEWS, "n1")  # and what is written again erases nothing
    assert await desk.human(NEWS, "n1") == {"sentiment": "negative"}


async def test_what_the_index_refuses_is_a_dead_letter(desk: Desk) -> None:
    index = index_name(desk.settings.prefix, NEWS, NOW)
    await desk.client.indices.delete_index_template(name=f"{desk.settings.prefix}{NEWS}")
    properties = {"id": {"type": "keyword"}, "headline": {"type": "text"}}
    await desk.client.indices.create(
        index=index,
        mappings={"dynamic": "strict", "properties": properties},
        aliases={f"{desk.settings.prefix}{NEWS}": {}},
    )
    doc = {"id": "n1", "headline": "Acme rises"}
    await desk.client.index(index=index, id="n1", document=doc, refresh=True)
    await desk.give(said("n1", "negative"))
    await desk.settled()
    (letter,) = await desk.letters()
    assert letter.reason == "rejected_by_index"


async def test_too_much_feedback_holds_the_fetching_and_not_the_pump(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback, "MAX_RECORDS", 20)
    desk.desk._room.max_records = 20
    await desk.put(NEWS, "n1")
    async with asyncio.timeout(1):
        await desk.give(*(said("n1", "negative", annotator=f"a{n}") for n in range(30)))
    assert desk.held == [True] * 11
    await desk.settled()
    assert desk.held[11:] == [False]


Act = Callable[[FeedbackDesk], Awaitable[None]]


async def drained(desk: FeedbackDesk) -> None:
    async with asyncio.timeout(5):
        await desk.drain(10)


async def revoked(desk: FeedbackDesk) -> None:
    desk.forget()


@pytest.mark.parametrize("act", [drained, revoked])
async def test_what_waits_for_its_event_is_left_to_come_again(desk: Desk, act: Act) -> None:
    await desk.give(said("late", "negative"))
    async with asyncio.timeout(10):
        while not desk.desk._aside:
            await asyncio.sleep(0.02)
    await act(desk.desk)
    assert desk.desk._room.records == 0
    await asyncio.sleep(2.5)
    assert desk.acknowledged == []
    assert await desk.letters() == []
