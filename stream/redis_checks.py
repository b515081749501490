"""What `doctor` asks Redis: that alerts survive a restart and are never evicted."""

from typing import Any

from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from stream.clients import make_redis
from stream.findings import Report
from stream.redis_session import redis_address
from stream.settings import Settings

ANSWER_SECONDS = 4.0
OLDEST_VERSION = (7, 0)
NEARLY_FULL = 0.9

# setting: wanted value, and what happens otherwise
_WANTED = {
    "appendonly": ("yes", "a restart of Redis forgets every alert"),
    "appendfsync": ("always", "a crash of its machine forgets the last alerts"),
    "maxmemory-policy": ("noeviction", "alerts may be evicted when memory is short"),
}


async def check_redis(settings: Settings, report: Report) -> None:
    """Report on reachability, version and settings; raises nothing for a Redis that is away."""
    redis = make_redis(settings, ANSWER_SECONDS)
    try:
        info: dict[str, Any] = await redis.info("everything")
        _check_server(info, report)
        await _check_settings(redis, report)
    except RedisError as error:
        report.wrong(*_trouble(error, settings))
    finally:
        await redis.aclose()


def _trouble(error: RedisError, settings: Settings) -> tuple[str, str]:
    address = redis_address(settings)
    if isinstance(error, AuthenticationError):
        return f"{address} refuses our password", "check BELLWETHER_REDIS"
    if isinstance(error, RedisTimeoutError):
        return f"{address} does not answer in {ANSWER_SECONDS:g} s", "see why: `make up`, its log"
    if isinstance(error, ResponseError):
        return f"{address} refuses a command: {error}", "permit it to our user, or ask its owner"
    return f"{address} cannot be reached", "start it (`make up`) or correct BELLWETHER_REDIS"


def _check_server(info: dict[str, Any], report: Report) -> None:
    version = str(info.get("redis_version", "0"))
    found = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if found < OLDEST_VERSION:
        report.wrong(f"version {version}", "upgrade to Redis 7.0 or later")
    else:
        report.fine(f"version {version} answers")
    if info.get("cluster_enabled"):
        report.wrong("runs as a cluster", "use a single Redis: the alert script spans keys")
    if info.get("role") != "master":
        report.wrong("is a replica, which takes no writes", "point BELLWETHER_REDIS at its master")
    if info.get("aof_enabled") and info.get("aof_last_write_status") != "ok":
        report.wrong("could not write its append-only file", "see its log and its disk")
    used, most = info.get("used_memory", 0), info.get("maxmemory", 0)
    if most and used > NEARLY_FULL * most:
        report.warn(
            f"{used / most:.0%} of its memory limit is used", "raise maxmemory: full, it takes none"
        )


async def _check_settings(redis: Redis, report: Report) -> None:
    try:
        found: dict[str | None, str | None] = await redis.config_get(*_WANTED)
    except ResponseError:
        report.warn(
            "does not show its settings (CONFIG is not permitted)",
            "make sure of: " + ", ".join(f"{name} {want}" for name, (want, _) in _WANTED.items()),
        )
        return
    for name, (wanted, otherwise) in _WANTED.items():
        if found.get(name) == wanted:
            report.fine(f"{name} is {wanted}")
        else:
            report.wrong(
                f"{name} is {found.get(name)}: {otherwise}",
                f"`redis-cli config set {name} {wanted}`, and the same line in redis.conf",
            )
