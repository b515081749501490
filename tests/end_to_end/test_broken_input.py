"""Every sort of broken record ends as a dead letter with its reason; its neighbours pass."""

from pathlib import Path

import pytest

from stream.settings import Settings, load_settings
from tests.end_to_end.corpus import BROKEN, encoded, message, news
from tests.end_to_end.harness import (
    Raw,
    Worker,
    dead_letters,
    drained,
    publish,
    sources,
)
from tests.servers import Servers

TOPICS = ("financial-news", "customer-messages")

HARMLESS: dict[str, Raw] = {
    "byte-order mark": ("financial-news", b"\xef\xbb\xbf" + encoded(news("bom", "Profit rises"))),
    "NUL": ("financial-news", encoded(news("nul", "Profit\u0000rises"))),
    "unknown field": ("financial-news", encoded(news("extra", "Profit rises", mood="good"))),
    "an id of 256 bytes": ("financial-news", encoded(news("i" * 256, "Profit rises"))),
    "the same record again": ("financial-news", encoded(news("bom", "Profit rises"))),
    "100,000 characters": ("customer-messages", encoded(message("long", "My card. " * 11_111))),
    "emoji only": ("customer-messages", encoded(message("emoji", "🤬🤬🤬"))),
    "another script": ("customer-messages", encoded(message("chinese", "我的银行卡丢了"))),
}
REFUSED: dict[str, tuple[Raw, str]] = {
    **{sort: (("financial-news", value), reason) for sort, (value, reason) in BROKEN.items()},
    "unknown channel": (
        ("customer-messages", encoded(message("x", "Hello", channel="pigeon"))),
        "invalid",
    ),
    "100,001 characters": (
        ("customer-messages", encoded(message("x", "a" * 100_001))),
        "invalid",
    ),
    "an id of 257 bytes": (("financial-news", encoded(news("i" * 257, "Profit"))), "invalid"),
    "a day and a half ahead": (
        ("financial-news", encoded(news("x", "h", published_at="2099-06-01T00:00:00+02:00"))),
        "time_out_of_range",
    ),
}


@pytest.fixture
def settings(servers: Servers, namespace: str, tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path, namespace=namespace, kafka_partitions=1, **servers.settings)


async def test_each_ends_where_it_should(settings: Settings, tmp_path: Path) -> None:
    neighbours: list[Raw] = []
    records: list[Raw] = []
    for position, (record, _) in enumerate(REFUSED.values()):
        topic = record[0]
        make = news if topic == "financial-news" else message
        neighbour = (topic, encoded(make(f"neighbour-{position}", "Shares of Acme rise")))
        neighbours.append(neighbour)
        records += [record, neighbour]
    records += HARMLESS.values()

    with Worker(settings, tmp_path / "log") as worker:
        worker.wait_ready()
        await publish(settings, records)
        await drained(settings, TOPICS, 60)
        code, _ = worker.terminate()
        assert code == 0

    letters = await dead_letters(settings)
    by_origin = _refused_by_origin(records)
    assert set(letters) == {(settings.topic(t), 0, offset) for t, offset in by_origin}
    for (topic, offset), (sort, value, reason) in by_origin.items():
        letter = letters[settings.topic(topic), 0, offset]
        assert letter.reason.value == reason, sort
        assert letter.value == value, sort
        assert letter.message, sort

    stored = {**await sources(settings, TOPICS[0]), **await sources(settings, TOPICS[1])}
    expected = {f"neighbour-{position}" for position in range(len(neighbours))}
    assert set(stored) == expected | {"bom", "nul", "extra", "i" * 256, "long", "emoji", "chinese"}
    assert stored["long"]["flags"] == ["truncated"]
    assert stored["bom"]["sentiment"]["label"] in ("negative", "neutral", "positive")


def _refused_by_origin(
    records: list[Raw],
) -> dict[tuple[str, int], tuple[str, bytes | None, str]]:
    """What must be a dead letter, by topic and offset: records go to one partition in order."""
    offsets = dict.fromkeys(TOPICS, 0)
    refused = {id(record): (sort, reason) for sort, (record, reason) in REFUSED.items()}
    found = {}
    for record in records:
        topic, value = record
        if id(record) in refused:
            sort, reason = refused[id(record)]
            found[topic, offsets[topic]] = (sort, value, reason)
        offsets[topic] += 1
    return found
