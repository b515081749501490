"""Faults in an order that a seed draws, one after the other, until 16,000 records have passed."""

import asyncio
import random
from pathlib import Path

import pytest

from ops.servers.guard import Guard
from stream.settings import Settings
from stream.topics import initialise
from tests.end_to_end.corpus import needs_data
from tests.end_to_end.faults import (
    TOPICS,
    Own,
    block_writes,
    nothing_lost_nothing_twice,
    records,
    restarted,
    wait_for_documents,
)
from tests.end_to_end.harness import Worker, drained, lags, publish
from tests.servers import install, running

VALID = 16_000
CALM_SECONDS = 3.0


class Storm:
    """Two workers of two processes, and whatever befalls them and the servers."""

    def __init__(self, settings: Settings, servers: Own, folder: Path, seed: int) -> None:
        self._settings = settings
        self._servers = servers
        self._folder = folder
        self._draw = random.Random(seed)
        self._workers = [self._started() for _ in range(2)]
        self._faults = (self._kill_worker, self._kill_server, self._stop_server, self._block)

    def _started(self) -> Worker:
        number = len(list(self._folder.glob("worker-*.log")))
        log = self._folder / f"worker-{number}.log"
        return Worker(self._settings, log, processes=2).start()

    async def blow(self) -> str:
        """One fault, drawn; its name."""
        fault = self._draw.choice(self._faults)
        return await fault()

    async def _kill_worker(self) -> str:
        self._workers.pop(self._draw.randrange(2)).kill()
        self._workers.append(self._started())
        return "a worker killed"

    async def _kill_server(self) -> str:
        servers = self._servers
        server = self._draw.choice([servers.kafka, servers.redis, servers.elasticsearch])
        server.kill()
        await asyncio.sleep(self._draw.uniform(0, 5))
        await restarted(server)
        return f"{server.name} killed"

    async def _stop_server(self) -> str:
        servers = self._servers
        server = self._draw.choice([servers.kafka, servers.redis, servers.elasticsearch])
        server.stop_signal()
        await asyncio.sleep(self._draw.uniform(1, 8))
        server.continue_signal()
        return f"{server.name} stopped for a while"

    async def _block(self) -> str:
        await block_writes(self._settings, True)
        await asyncio.sleep(self._draw.uniform(1, 8))
        await block_writes(self._settings, False)
        return "an index read-only for a while"

    def end(self) -> None:
        for worker in self._workers:
            worker.kill()


@pytest.mark.long
@needs_data
@pytest.mark.parametrize("seed", [1, 2])
async def test_a_storm_loses_nothing(guard: Guard, tmp_path: Path, seed: int) -> None:
    servers = Own(tmp_path)
    install()
    with running(guard, servers.kafka, servers.redis, servers.elasticsearch):
        settings = servers.settings(tmp_path, "storm")
        storm = Storm(settings, servers, tmp_path, seed)
        try:
            await initialise(settings)
            await publish(settings, records(VALID))
            await wait_for_documents(settings, 100)
            while any((await lags(settings, TOPICS)).values()):
                print(await storm.blow())
                await asyncio.sleep(CALM_SECONDS)
            await drained(settings, TOPICS, 300)
        finally:
            storm.end()
        await nothing_lost_nothing_twice(settings, VALID)
