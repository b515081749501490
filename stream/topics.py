"""The topics of the service, and `init`, which makes servers ready for it.

`init` may run any number of times and from several workers at once: it creates what is missing
and leaves what exists as its owner configured it (`doctor` says what deserves a change).
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from schemas.errors import ServerUnavailable
from schemas.sources import Source, load_sources
from stream.brokers import broker_admin
from stream.clients import make_elasticsearch
from stream.elastic import install_templates
from stream.settings import Settings

FEEDBACK, LABELS = "feedback", "labels"
MEBIBYTE = 1024 * 1024
DAY_MILLISECONDS = 24 * 3600 * 1000
DEAD_LETTER_DAYS = 30
METADATA_WAIT_SECONDS = 30


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """A topic as `init` creates it; `name` is without the namespace."""

    name: str
    config: dict[str, str]


def plans(sources: Sequence[Source], settings: Settings) -> tuple[TopicPlan, ...]:
    """The topics the service reads and writes, with the configuration of each."""
    retention = str(settings.retention_days * DAY_MILLISECONDS)
    # The age of an event, and a flood of labels, are judged by when they reached Kafka, so the
    # broker's clock stamps them.
    stamped = {"message.timestamp.type": "LogAppendTime"}
    incoming = {
        **stamped,
        "max.message.bytes": str(4 * MEBIBYTE),
        "retention.ms": retention,
    }
    dead_letters = {
        "max.message.bytes": str(5 * MEBIBYTE),
        "retention.ms": str(DEAD_LETTER_DAYS * DAY_MILLISECONDS),
    }
    labels = {
        **stamped,
        "cleanup.policy": "compact",
        "max.message.bytes": str(4 * MEBIBYTE),
    }
    return (
        *(TopicPlan(source.topic, incoming) for source in sources),
        TopicPlan(FEEDBACK, incoming),
        TopicPlan(LABELS, labels),
        TopicPlan("dead-letters", dead_letters),
    )


async def initialise(settings: Settings) -> list[str]:
    """Create missing topics and index templates; return a line for each thing done.

    Raises ServerUnavailable when Kafka or Elasticsearch does not answer.
    """
    sources = load_sources(settings.sources)
    lines = await _create_topics(settings, plans(sources, settings))
    client = make_elasticsearch(settings)
    try:
        await install_templates(client, settings.prefix, settings.elasticsearch_replicas)
    finally:
        await client.close()
    return [*lines, f"index templates {settings.prefix}* are current"]


async def _create_topics(settings: Settings, wanted: Sequence[TopicPlan]) -> list[str]:
    async with broker_admin(settings) as admin:
        names = [settings.topic(plan.name) for plan in wanted]
        existing = set(await admin.list_topics())
        missing = [plan for plan in wanted if settings.topic(plan.name) not in existing]
        created = await _create(admin, missing, settings)
        await _until_visible(admin, names)
    return [f"topic {name}: {'created' if name in created else 'exists'}" for name in names]


async def _create(
    admin: AIOKafkaAdminClient, missing: Sequence[TopicPlan], settings: Settings
) -> set[str]:
    if not missing:
        return set()
    response = await admin.create_topics(
        [
            NewTopic(
                name=settings.topic(plan.name),
                num_partitions=settings.kafka_partitions,
                replication_factor=settings.kafka_replication,
                topic_configs=plan.config,
            )
            for plan in missing
        ]
    )
    created = set()
    for name, code, *rest in response.topic_errors:
        if code == 0:
            created.add(name)
        elif code != TopicAlreadyExistsError.errno:
            reason = rest[0] if rest and rest[0] else for_code(code).__name__
            raise ServerUnavailable(f"Kafka refused to create topic {name}: {reason}")
    return created


async def _until_visible(admin: AIOKafkaAdminClient, names: Iterable[str]) -> None:
    """Wait until the broker lists every topic with a leader; a consumer that subscribes
    earlier says that it is ready and never gets a partition."""
    waiting = set(names)
    async with asyncio.timeout(METADATA_WAIT_SECONDS):
        while waiting:
            described = await admin.describe_topics(sorted(waiting))
            waiting -= {topic["topic"] for topic in described if _is_led(topic)}
            if waiting:
                await asyncio.sleep(0.1)


def _is_led(topic: dict[str, object]) -> bool:
    partitions = topic.get("partitions")
    return (
        topic.get("error_code") == 0
        and isinstance(partitions, list)
        and bool(partitions)
        and all(partition["leader"] >= 0 for partition in partitions)
    )
