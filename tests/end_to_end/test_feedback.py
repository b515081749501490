"""Feedback through real workers: beside news and messages, through outages and kill -9."""

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from ops.servers import Elasticsearch
from ops.servers.guard import Guard
from schemas.labels import LabelKey, LabelRecord, parse_label_key
from stream.brokers import send
from stream.clients import kafka_options
from stream.settings import Settings, load_settings
from stream.topic_reader import read_topic
from tests.end_to_end.corpus import encoded, message, news, stamp
from tests.end_to_end.faults import restarted
from tests.end_to_end.harness import Worker, dead_letters, drained, metric, publish, sources
from tests.servers import TEST_HEAP_MB, Servers, running

TOPICS = ("financial-news", "customer-messages", "feedback")
NEVER_COMMITS_SECONDS = 3_600.0
TOLD = "My name is Jane Doe. Where is my new card?"


@pytest.fixture
def settings(servers: Servers, namespace: str, tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path, namespace=namespace, **servers.settings)


def said(event_id: str, label: str | None, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"f-{event_id}",
        "event_id": event_id,
        "stream": "financial-news",
        "task": "news.sentiment",
        "label": label,
        "annotator": "ana",
        "given_at": stamp(),
        **changes,
    }


async def give(settings: Settings, records: Iterable[dict[str, Any]]) -> None:
    """Feedback by the event's id, as the contract has it, so that its order holds."""
    producer = AIOKafkaProducer(**kafka_options(settings), acks="all")
    await producer.start()
    try:
        topic = settings.topic("feedback")
        sent = [
            await send(producer, topic, str(record["event_id"]).encode(), encoded(record))
            for record in records
        ]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


async def labels(settings: Settings) -> dict[LabelKey, LabelRecord]:
    """Those that stand, by key."""
    newest = {record.key: record.value async for record in read_topic(settings, "labels")}
    return {
        parse_label_key(key): LabelRecord.from_json(value) for key, value in newest.items() if value
    }


def headlines(*ids: str) -> list[tuple[str, bytes]]:
    return [("financial-news", encoded(news(name, f"Acme rises {name}"))) for name in ids]


async def indexed(settings: Settings, event_id: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while event_id not in await sources(settings, "financial-news"):
        assert time.monotonic() < deadline, f"{event_id} is not indexed"
        await asyncio.sleep(0.2)


async def test_people_correct_what_the_model_said(settings: Settings, tmp_path: Path) -> None:
    of_message = {"stream": "customer-messages", "task": "message.intent"}
    talkative = settings.model_copy(update={"log_level": "DEBUG"})
    with Worker(talkative, tmp_path / "log") as worker:
        worker.wait_ready()
        # Feedback comes first, and waits for its events.
        await give(
            settings,
            [
                said("n1", "negative"),
                said("n1", "neutral", annotator="bob"),
                said("m1", "card_arrival", **of_message),
                said("n2", "positive"),
                said("n2", None),
                said("n3", "nonsense"),
            ],
        )
        await publish(settings, headlines("n1", "n2"))
        await publish(settings, [("customer-messages", encoded(message("m1", TOLD)))])
        await drained(settings, TOPICS, 90)

        written = await sources(settings, "financial-news")
        assert written["n1"]["human"] == {"sentiment": "neutral"}
        assert "human" not in written["n2"]
        told = (await sources(settings, "customer-messages"))["m1"]
        assert (told["human"], told["text"]) == ({"intent": "card_arrival"}, TOLD)
        kept = await labels(settings)
        assert {key[:2] for key in kept} == {("news.sentiment", "n1"), ("message.intent", "m1")}
        of_intent = kept[LabelKey("message.intent", "m1", None, "ana")]
        assert of_intent.text == "My name is [name]. Where is my new card?"
        assert of_intent.model is not None
        assert of_intent.model.version == told["model_version"]
        (letter,) = (await dead_letters(settings)).values()
        assert "expected one of negative, neutral, positive" in letter.message
        page = worker.get("/metrics")[1]
        assert metric(page, "bellwether_feedback_total", task="news.sentiment") == 4
        assert metric(page, "bellwether_feedback_disagreement_total") >= 1

        # A flood of feedback on events that nobody knows does not stop the news.
        await give(settings, (said(f"unknown{n}", "negative") for n in range(4_000)))
        await asyncio.sleep(3)
        await publish(settings, headlines("n4"))
        await indexed(settings, "n4", 30)
        code, seconds = await asyncio.to_thread(worker.terminate)
        assert (code, seconds < 20) == (0, True), worker.tail()
        log = worker.log.read_text()
        assert "DEBUG" in log
        assert not any(secret in log for secret in ("Jane Doe", "Acme rises", "nonsense"))


@pytest.mark.long
async def test_kill_and_outage_lose_nothing(
    servers: Servers, guard: Guard, namespace: str, tmp_path: Path
) -> None:
    index = Elasticsearch(tmp_path / "elasticsearch", heap_mb=TEST_HEAP_MB)
    given = servers.settings | {"elasticsearch": index.address}
    settings = load_settings(home=tmp_path, namespace=namespace, **given)
    patient = settings.model_copy(update={"commit_interval_seconds": NEVER_COMMITS_SECONDS})
    ids = [f"n{number}" for number in range(20)]
    records = [
        said(name, "negative" if annotator == "a9" else "positive", annotator=annotator)
        for annotator in (f"a{number}" for number in range(10))
        for name in ids
    ]
    with running(guard, index):
        with Worker(patient, tmp_path / "a.log") as worker:
            worker.wait_ready()
            await publish(settings, headlines(*ids))
            await indexed(settings, ids[-1])
            await give(settings, records[:120])
            while not await labels(settings):
                await asyncio.sleep(0.1)
            worker.kill()
        with Worker(settings, tmp_path / "b.log") as worker:
            worker.wait_ready()
            index.kill()
            await give(settings, [*records[120:], said("n0", "nonsense")])
            await asyncio.sleep(3)
            assert worker.popen is not None
            assert worker.popen.poll() is None
            await restarted(index)
            await drained(settings, TOPICS, 120)
        kept = await labels(settings)
        assert {(key.event_id, key.annotator) for key in kept} == {
            (record["event_id"], record["annotator"]) for record in records
        }
        written = await sources(settings, "financial-news")
        assert {name: written[name]["human"] for name in ids} == {
            name: {"sentiment": "negative"} for name in ids
        }
        assert len(await dead_letters(settings)) == 1
