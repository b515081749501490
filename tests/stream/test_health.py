import asyncio
import json
import urllib.error
import urllib.request

import pytest

from schemas.errors import ConfigurationError
from stream.health import HealthServer, require_free_port
from stream.metrics import Metrics


def server(port: int = 0, **checks: bool) -> HealthServer:
    metrics = Metrics()
    metrics.events.labels("financial-news").inc(3)
    return HealthServer(port, metrics.registry, lambda: checks)


async def get(health: HealthServer, path: str) -> tuple[int, str]:
    def ask() -> tuple[int, str]:
        try:
            url = f"http://127.0.0.1:{health.port}{path}"
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    return await asyncio.to_thread(ask)


async def test_ready_names_what_is_missing() -> None:
    health = server(model=True, redis=False)
    await health.start()
    try:
        status, body = await get(health, "/ready")
        assert (status, json.loads(body)) == (503, {"ready": False, "model": True, "redis": False})
        assert (await get(health, "/live"))[0] == 200
    finally:
        await health.stop()


async def test_ready_and_metrics() -> None:
    health = server(model=True)
    await health.start()
    try:
        assert (await get(health, "/ready"))[0] == 200
        status, page = await get(health, "/metrics")
        assert status == 200
        assert 'bellwether_events_total{topic="financial-news"} 3.0' in page
    finally:
        await health.stop()


async def test_a_taken_port_is_said_in_plain_words() -> None:
    first = server()
    await first.start()
    try:
        with pytest.raises(ConfigurationError, match=f"port {first.port} of 127.0.0.1 is taken"):
            require_free_port(first.port)
    finally:
        await first.stop()
