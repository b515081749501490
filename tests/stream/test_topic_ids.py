"""What the names of topics stand for."""

from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import UnknownTopicOrPartitionError

from ops.servers import Kafka
from ops.servers.guard import Guard
from stream.brokers import broker_admin
from stream.clients import kafka_options
from stream.settings import Settings, load_settings
from stream.topic_ids import SeenTopic, look
from tests.end_to_end.topic_changes import NEWS, add_partitions, create, delete
from tests.servers import Servers, install, running


async def seen(settings: Settings, *names: str) -> dict[str, SeenTopic]:
    async with broker_admin(settings) as admin:
        return dict(await look(admin._client, [settings.topic(name) for name in names]))


async def test_a_name_given_anew_stands_for_another_topic(servers: Servers, namespace: str) -> None:
    settings = load_settings(namespace=namespace, **servers.settings)
    topic = settings.topic(NEWS)
    assert await seen(settings, NEWS) == {}
    await create(settings, 2)
    first = (await seen(settings, NEWS, "lacking"))[topic]
    await add_partitions(settings, 3)
    assert await seen(settings, NEWS) == {topic: SeenTopic(first.id, 3)}
    await delete(settings)
    assert await seen(settings, NEWS) == {}
    await create(settings, 3)
    assert (await seen(settings, NEWS))[topic].id != first.id
    assert await seen(settings) == {}


class OnDemand(Kafka):
    """Makes topics for whoever asks for them, as Kafka does by default."""

    def _properties(self, controller_port: int) -> list[str]:
        return [*super()._properties(controller_port), "auto.create.topics.enable=true"]


async def test_to_ask_for_a_topic_makes_none(tmp_path: Path, guard: Guard) -> None:
    install()
    server = OnDemand(tmp_path / "kafka")
    with running(guard, server):
        settings = load_settings(kafka=server.address)
        consumer = AIOKafkaConsumer(NEWS, **kafka_options(settings), group_id="g")
        with pytest.raises(UnknownTopicOrPartitionError):
            await consumer.start()
        await consumer.stop()
        assert await seen(settings, NEWS) == {}
