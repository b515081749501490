"""A Redis of the session's servers, and one that a test may kill."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from ops.servers import Redis as RedisServer
from ops.servers.guard import Guard
from tests.servers import Servers, running


@pytest.fixture
async def redis(servers: Servers) -> AsyncIterator[Redis]:
    client = Redis.from_url(servers.redis.address)
    yield client
    await client.aclose()


@pytest.fixture
def own_redis(tmp_path: Path, guard: Guard) -> Iterator[RedisServer]:
    """A Redis that the test may kill."""
    server = RedisServer(tmp_path / "redis")
    with running(guard, server):
        yield server
