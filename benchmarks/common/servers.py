"""The servers that all contestants of one run share."""

import asyncio
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ops.servers import Elasticsearch, Kafka, Redis
from ops.servers.guard import Guard
from stream.brokers import broker_admin
from stream.clients import make_elasticsearch, make_redis
from stream.settings import Settings, load_settings
from stream.topics import initialise
from tests.servers import install, running

Say = Callable[[str], None]


@contextmanager
def servers(use_running: bool, say: Say) -> Iterator[tuple[Settings, Path]]:
    """Settings of a namespace of its own on servers that answer, and a folder for what is left.

    Own servers on free ports, gone afterwards; or with `use_running` those that the settings
    name, from which the namespace is removed afterwards. Raises ServerError where own servers
    do not start, ServerUnavailable where the others do not answer.
    """
    namespace = f"bench-{uuid.uuid4().hex[:8]}"
    with tempfile.TemporaryDirectory(prefix="bellwether-bench-") as name:
        folder = Path(name)
        if use_running:
            settings = load_settings(namespace=namespace, cached_texts=0)
            asyncio.run(initialise(settings))
            try:
                yield settings, folder
            finally:
                asyncio.run(_remove(settings))
        else:
            with _own(folder, namespace, say) as settings:
                asyncio.run(initialise(settings))
                yield settings, folder


@contextmanager
def _own(folder: Path, namespace: str, say: Say) -> Iterator[Settings]:
    """The servers of `make up`, but without Java's optimising compiler.

    It would be at work for the first many minutes, and take several times what the documents
    themselves take, on the very cores that are measured; in a server that has run for days it has
    nothing to do.
    """
    say("starting Kafka, Redis and Elasticsearch")
    install()
    kafka = Kafka(folder / "kafka")
    redis = Redis(folder / "redis")
    elasticsearch = Elasticsearch(folder / "elasticsearch")
    guard = Guard()
    try:
        with running(guard, kafka, redis, elasticsearch):
            yield load_settings(
                home=folder,
                namespace=namespace,
                cached_texts=0,  # the same texts come again in every round
                kafka=kafka.address,
                redis=redis.address,
                elasticsearch=elasticsearch.address,
            )
    finally:
        guard.close()


async def _remove(settings: Settings) -> None:
    """Take the namespace off servers that others use too."""
    async with broker_admin(settings) as admin:
        topics = [topic for topic in await admin.list_topics() if _is_ours(topic, settings)]
        await admin.delete_topics(topics)
    redis = make_redis(settings)
    elasticsearch = make_elasticsearch(settings)
    try:
        async for key in redis.scan_iter(f"{settings.prefix}*", count=1000):
            await redis.delete(key)
        indices = await elasticsearch.indices.get(index=f"{settings.prefix}*")
        for index in indices:
            await elasticsearch.indices.delete(index=index)
        templates = await elasticsearch.indices.get_index_template(name=f"{settings.prefix}*")
        for template in templates["index_templates"]:
            await elasticsearch.indices.delete_index_template(name=template["name"])
    finally:
        await redis.aclose()
        await elasticsearch.close()


def _is_ours(name: str, settings: Settings) -> bool:
    return name.startswith(settings.prefix)
