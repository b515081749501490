"""`explain --event`: an event is found by its document, and so is the model that judged it."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from elasticsearch import AsyncElasticsearch

from models.bundle import SHIPPED_BUNDLE, Bundle
from schemas.errors import BellwetherError, ConfigurationError, ServerUnavailable
from schemas.records import Kind
from stream.clients import make_elasticsearch
from stream.elastic import install_templates
from stream.judged_event import JudgedEvent, folder_of, judged_event
from stream.settings import Settings, load_settings
from tests.end_to_end.harness import bellwether
from tests.models.small_bundle import another_bundle
from tests.servers import Servers

VERSION = Bundle.open(SHIPPED_BUNDLE).version
TEXT = "My card was stolen"


@pytest.fixture
def settings(servers: Servers, namespace: str, tmp_path: Path) -> Settings:
    return load_settings(
        home=tmp_path, elasticsearch=servers.elasticsearch.address, namespace=namespace
    )


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[AsyncElasticsearch]:
    client = make_elasticsearch(settings)
    await install_templates(client, settings.prefix)
    yield client
    await client.close()


async def stored(
    client: AsyncElasticsearch, settings: Settings, month: str, name: str, **more: str
) -> None:
    await client.index(
        index=f"{settings.prefix}customer-messages-{month}",
        id=name,
        document={"id": name, "text": TEXT, "model_version": VERSION, **more},
        refresh=True,
    )


async def test_an_event_is_what_its_document_says(
    client: AsyncElasticsearch, settings: Settings
) -> None:
    await stored(client, settings, "2026.10", "a/b c", text="older", language="de")
    await stored(client, settings, "2026.11", "a/b c", language="en")
    found = await judged_event(settings, "customer-messages/a/b c")
    assert found == JudgedEvent(TEXT, Kind.MESSAGE, "en", VERSION)


@pytest.mark.parametrize("named", ["m-1", "customer-messages", "customer-messages/", "alerts/m-1"])
async def test_another_form_is_refused(settings: Settings, named: str) -> None:
    with pytest.raises(ConfigurationError, match="expected STREAM/ID"):
        await judged_event(settings, named)


async def test_an_event_that_is_not_there_is_said(
    client: AsyncElasticsearch, settings: Settings
) -> None:
    await stored(client, settings, "2026.11", "m-1")
    with pytest.raises(BellwetherError, match="there is no event 'm-2'"):
        await judged_event(settings, "customer-messages/m-2")
    away = settings.model_copy(update={"elasticsearch": "http://127.0.0.1:1"})
    with pytest.raises(ServerUnavailable):
        await judged_event(away, "customer-messages/m-1")


def test_the_version_that_judged_is_looked_for(settings: Settings, tmp_path: Path) -> None:
    other = another_bundle(SHIPPED_BUNDLE, tmp_path / "bundle", 1)
    serving = settings.model_copy(update={"model": other})
    assert folder_of(serving, Bundle.open(other).version) == other
    assert folder_of(serving, VERSION) == SHIPPED_BUNDLE
    with pytest.raises(BellwetherError, match="version 0123456789ab, which is not at hand"):
        folder_of(settings, "0123456789ab")


async def test_an_event_is_explained(client: AsyncElasticsearch, settings: Settings) -> None:
    await stored(client, settings, "2026.11", "m-1")
    explained = bellwether(settings, "explain", "--json", "--event", "customer-messages/m-1")
    tasks = [json.loads(line)["task"] for line in explained.stdout.splitlines()]
    assert tasks == ["message.intent", "message.emotion"]
    text = bellwether(settings, "explain", "--json", TEXT, "--kind", "message")
    assert text.stdout == explained.stdout
