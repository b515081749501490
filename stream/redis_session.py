"""Reaching Redis for an operator: soon, or with the reason why not."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis
from redis.exceptions import RedisError

from schemas.errors import ServerUnavailable
from stream.clients import make_redis
from stream.settings import Settings


def redis_address(settings: Settings) -> str:
    """Host, port and database, without the password that the URL may hold."""
    return settings.redis.get_secret_value().rpartition("//")[2].rpartition("@")[2]


@asynccontextmanager
async def redis_session(settings: Settings) -> AsyncIterator[Redis]:
    """A client that answers. What goes wrong with it is raised as ServerUnavailable."""
    redis = make_redis(settings)
    try:
        await redis.ping()
        yield redis
    except RedisError as error:
        said = str(error).rstrip(".")
        raise ServerUnavailable(
            f"Redis at {redis_address(settings)} does not serve us: {said}. "
            "Is it up (`make up`), and is BELLWETHER_REDIS right?"
        ) from error
    finally:
        await redis.aclose()
