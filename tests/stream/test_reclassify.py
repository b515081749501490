"""Stored documents are judged anew, on a real Elasticsearch."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import AsyncElasticsearch, Elasticsearch

from models.bundle import SHIPPED_BUNDLE
from schemas.documents import Write, document, index_name
from schemas.errors import ServerUnavailable
from schemas.origins import Origin
from schemas.records import Channel, Kind, MessageRecord, NewsRecord, Record
from stream import reclassify as reclassification
from stream.classifiers import Model, load_model
from stream.clients import make_elasticsearch
from stream.elastic import ElasticSink
from stream.indices import install_templates
from stream.reclassify import Outcome, Wanted, reclassify
from stream.settings import Settings, load_settings
from tests.models.small_bundle import another_bundle
from tests.servers import Servers

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)
BOTH = tuple(Kind)
TODAY = Wanted(BOTH, NOW - DAY, NOW + DAY)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model under another version."""
    return another_bundle(SHIPPED_BUNDLE, tmp_path_factory.mktemp("new") / "bundle", 1)


@pytest.fixture
def settings(servers: Servers, namespace: str, tmp_path: Path, bundle: Path) -> Settings:
    return load_settings(
        home=tmp_path,
        elasticsearch=servers.elasticsearch.address,
        namespace=namespace,
        model=bundle,
        threads=1,
    )


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[AsyncElasticsearch]:
    client = make_elasticsearch(settings)
    await install_templates(client, settings.prefix)
    yield client
    await client.close()


@pytest.fixture(scope="module")
def old() -> Model:
    return load_model(None, load_settings(), threads=1)


def news(name: str, at: datetime = NOW) -> NewsRecord:
    return NewsRecord(id=name, published_at=at, headline=f"Acme cuts outlook {name}", source="x")


def message(name: str) -> MessageRecord:
    return MessageRecord(
        id=name, sent_at=NOW, customer_id="c", channel=Channel.CHAT, text=f"My card {name} is lost"
    )


async def store(
    client: AsyncElasticsearch, settings: Settings, model: Model, records: Sequence[Record]
) -> None:
    answers = model.classifier.classify([r.text for r in records], [r.kind for r in records])
    writes = [
        Write(
            index_name(settings.prefix, record.kind.stream, record.event_time),
            record.id,
            document(
                record,
                answer,
                risk=0.0,
                origin=Origin("t", 0, 7),
                classified_at=NOW,
                taxonomy=model.analysis.taxonomy,
            )
            | {"human": {"sentiment": "neutral"}, "sentiment": {"label": "wrong"}},
        )
        for record, answer in zip(records, answers, strict=True)
    ]
    assert await ElasticSink(client, lambda: None).write(writes) == []


async def found(client: AsyncElasticsearch, settings: Settings, kind: Kind) -> dict[str, Any]:
    alias = f"{settings.prefix}{kind.stream}"
    await client.indices.refresh(index=alias)
    hits = (await client.search(index=alias, size=1000))["hits"]["hits"]
    return {hit["_id"]: hit["_source"] for hit in hits}


class Ended(Exception):
    """Somebody ended the command."""


def interrupted(_what: str, _done: int, _total: int) -> None:
    raise Ended


def quiet(_what: str, _done: int, _total: int) -> None:
    """No progress is shown."""


async def test_the_models_fields_change_and_all_others_stay(
    settings: Settings, client: AsyncElasticsearch, old: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reclassification, "PAGE", 4)
    records: list[Record] = [
        *(news(f"n{i}") for i in range(9)),
        *(message(f"m{i}") for i in range(3)),
    ]
    await store(client, settings, old, records)
    before = await found(client, settings, Kind.NEWS)
    seen: list[tuple[str, int, int]] = []

    outcome = await reclassify(settings, TODAY, lambda *said: seen.append(said))

    new = load_model(settings.model, settings, threads=1)
    assert outcome == Outcome(new.version, judged=12)
    assert seen[-2:] == [("financial-news", 9, 9), ("customer-messages", 3, 3)]
    for kind in BOTH:
        documents = await found(client, settings, kind)
        own = [record for record in records if record.kind is kind]
        answers = new.classifier.classify([record.text for record in own], [kind] * len(own))
        for record, answer in zip(own, answers, strict=True):
            stored = documents[record.id]
            expected = new.analysis.judgement(record, answer)
            assert stored["classified_at"] > "2026-11-22"
            assert stored | expected | {"classified_at": stored["classified_at"]} == stored
            assert stored["human"] == {"sentiment": "neutral"}
            assert stored["origin"] == {"topic": "t", "partition": 0, "offset": 7}
            assert stored["risk"] > 0
    after = await found(client, settings, Kind.NEWS)
    assert {name: d["headline"] for name, d in after.items()} == {
        name: d["headline"] for name, d in before.items()
    }


async def test_it_goes_on_where_it_ended(
    settings: Settings, client: AsyncElasticsearch, old: Model
) -> None:
    await store(client, settings, old, [news(f"n{i}") for i in range(5)])
    with pytest.raises(Ended):  # after the first page
        await reclassify(settings, TODAY, interrupted)
    await store(client, settings, old, [news("late")])
    assert (await reclassify(settings, TODAY, quiet)).judged == 1
    assert (await reclassify(settings, TODAY, quiet)).judged == 0
    everything = Wanted(BOTH, TODAY.start, TODAY.end, everything=True)
    assert (await reclassify(settings, everything, quiet)).judged == 6


async def test_what_changes_meanwhile_is_judged_by_its_new_text(
    settings: Settings, client: AsyncElasticsearch, old: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A correction, a label and a deletion come while the model reads."""
    await store(client, settings, old, [news(f"n{i}") for i in range(4)])
    index = index_name(settings.prefix, Kind.NEWS.stream, NOW)
    elsewhere = Elasticsearch(settings.elasticsearch)
    changes = [
        lambda: elsewhere.update(index=index, id="n1", doc={"headline": "Acme beats forecasts"}),
        lambda: elsewhere.update(index=index, id="n2", doc={"human": {"topic": "macro"}}),
        lambda: elsewhere.delete(index=index, id="n3"),
    ]
    actions = reclassification._Reclassification._actions

    def meanwhile(self: Any, kind: Kind, readable: Any) -> list[bytes]:
        made = actions(self, kind, readable)
        while changes:
            changes.pop()()
        return made

    monkeypatch.setattr(reclassification._Reclassification, "_actions", meanwhile)
    assert (await reclassify(settings, TODAY, quiet)).judged == 4  # with the one that is gone
    elsewhere.close()
    documents = await found(client, settings, Kind.NEWS)
    assert documents.keys() == {"n0", "n1", "n2"}
    assert documents["n2"]["human"] == {"sentiment": "neutral", "topic": "macro"}
    new = load_model(settings.model, settings, threads=1)
    (answer,) = new.classifier.classify(["Acme beats forecasts"], [Kind.NEWS])
    for name, value in new.analysis.judgement(
        news("n1").model_copy(update={"headline": "Acme beats forecasts"}), answer
    ).items():
        assert name == "classified_at" or documents["n1"][name] == value


async def test_only_what_is_asked_for(
    settings: Settings, client: AsyncElasticsearch, old: Model
) -> None:
    times = {"early": NOW - 40 * DAY, "first": NOW, "last": NOW + DAY}
    await store(client, settings, old, [*(news(n, at) for n, at in times.items()), message("m")])
    wanted = Wanted((Kind.NEWS,), NOW, NOW + DAY)
    assert (await reclassify(settings, wanted, quiet)).judged == 1
    documents = await found(client, settings, Kind.NEWS)
    new = {name for name, d in documents.items() if d["model_version"] != old.version}
    assert new == {"first"}
    assert (await found(client, settings, Kind.MESSAGE))["m"]["model_version"] == old.version


async def test_own_tasks_that_the_model_does_not_have_go(
    settings: Settings, client: AsyncElasticsearch, old: Model
) -> None:
    await store(client, settings, old, [message("m")])
    index = index_name(settings.prefix, Kind.MESSAGE.stream, NOW)
    tasks = [{"task": "message.urgency", "label": "high", "confidence": 0.9}]
    await client.update(index=index, id="m", doc={"tasks": tasks})
    await reclassify(settings, TODAY, quiet)
    assert (await found(client, settings, Kind.MESSAGE))["m"]["tasks"] == []


async def test_a_document_that_is_no_record_is_counted_and_left(
    settings: Settings, client: AsyncElasticsearch, old: Model
) -> None:
    await store(client, settings, old, [news("good")])
    index = index_name(settings.prefix, Kind.NEWS.stream, NOW)
    strange = {"id": "strange", "published_at": NOW.isoformat()}
    await client.index(index=index, id="strange", document=strange)
    outcome = await reclassify(settings, TODAY, quiet)
    assert (outcome.judged, outcome.unreadable) == (1, 1)
    assert (await found(client, settings, Kind.NEWS))["strange"] == strange


async def test_where_nothing_was_written_yet(servers: Servers, settings: Settings) -> None:
    assert (await reclassify(settings, TODAY, quiet)).judged == 0


async def test_a_server_that_is_away_is_told(settings: Settings) -> None:
    away = settings.model_copy(update={"elasticsearch": "http://127.0.0.1:1"})
    with pytest.raises(ServerUnavailable, match=r"127\.0\.0\.1:1: it cannot be reached"):
        await reclassify(away, TODAY, quiet)
