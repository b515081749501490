"""Removes what a demo left on the servers, and nothing else."""

import re

from schemas.errors import ConfigurationError
from schemas.mappings import PROPERTIES, index_templates
from stream.brokers import broker_admin
from stream.clients import make_elasticsearch
from stream.elastic_errors import expected_to_answer
from stream.indices import monthly_indices
from stream.redis_session import redis_session
from stream.settings import Settings

NAMESPACE = re.compile(r"demo-[0-9]{8}-[0-9]{6}")
REDIS_PAGE = 500


def check_namespace(namespace: str) -> None:
    """Raises ConfigurationError unless this is the name of a demo."""
    if not NAMESPACE.fullmatch(namespace):
        raise ConfigurationError(f"{namespace!r} is no demo: they are named demo-YYYYMMDD-HHMMSS")


async def remove(settings: Settings) -> list[str]:
    """Remove the demo of the settings' namespace; answers a line for each kind of thing.

    Raises ServerUnavailable, and ConfigurationError for a namespace that is no demo's.
    """
    check_namespace(settings.namespace)
    return [
        f"{await _from_kafka(settings)} topics",
        f"{await _from_elasticsearch(settings)} indices",
        f"{await _from_redis(settings)} keys in Redis",
    ]


async def _from_kafka(settings: Settings) -> int:
    async with broker_admin(settings) as admin:
        topics = [name for name in await admin.list_topics() if name.startswith(settings.prefix)]
        if topics:
            await admin.delete_topics(topics)
    return len(topics)


async def _from_elasticsearch(settings: Settings) -> int:
    client = make_elasticsearch(settings)
    removed = 0
    try:
        with expected_to_answer(client):
            for base in PROPERTIES:
                for index in await monthly_indices(client, settings.prefix, base):
                    await client.indices.delete(index=index, ignore_unavailable=True)
                    removed += 1
            for template in index_templates(settings.prefix):
                if await client.indices.exists_index_template(name=template):
                    await client.indices.delete_index_template(name=template)
    finally:
        await client.close()
    return removed


async def _from_redis(settings: Settings) -> int:
    async with redis_session(settings) as redis:
        keys = [key async for key in redis.scan_iter(f"{settings.prefix}*", count=REDIS_PAGE)]
        for first in range(0, len(keys), REDIS_PAGE):
            await redis.delete(*keys[first : first + REDIS_PAGE])
    return len(keys)
