"""A worker changes its model while it works.

A new champion is loaded and asked its probe texts beside the model that serves, on a thread of its
own; then the pipeline takes it between two batches. One that cannot be loaded, or does not know
the labels that rules and risk weights name, leaves the old one working.
"""

import asyncio
import logging
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter

from stream.classifiers import Model
from stream.metrics import Metrics
from stream.pipeline import Pipeline
from stream.retry import Patience
from stream.watcher import Champion, Sighting

logger = logging.getLogger(__name__)

HEAR_SECONDS = 0.2


class Swapper:
    """Follows what the supervisor says of the registry. `load` makes a model of a folder."""

    def __init__(
        self,
        pipeline: Pipeline,
        metrics: Metrics,
        load: Callable[[Path], Model],
        supervisor: Connection,
    ) -> None:
        self._pipeline = pipeline
        self._metrics = metrics
        self._load = load
        self._supervisor = supervisor
        self._sighting = Sighting()
        self._patience = Patience()

    async def follow(self) -> None:
        """For ever: hear what is new, and serve the champion."""
        while True:
            while self._supervisor.poll():
                self._take(self._supervisor.recv())
            champion = self._sighting.champion
            if champion and champion.version != self._pipeline.model.version:
                await self._serve(champion)
            await asyncio.sleep(HEAR_SECONDS)

    def _take(self, sighting: Sighting) -> None:
        self._metrics.registry_up.set(sighting.up)
        self._metrics.model_refused.inc(sighting.refused - self._sighting.refused)
        self._sighting = sighting

    async def _serve(self, champion: Champion) -> None:
        if not self._patience.is_due(champion.version):
            return
        before, started = self._pipeline.model.version, perf_counter()
        try:
            model = await asyncio.to_thread(self._load, champion.folder)
        except Exception as error:  # whatever is wrong with a new model, the old one works on
            self._metrics.model_refused.inc()
            if self._patience.failed(champion.version):
                logger.error(
                    "champion %s is refused, %s stays: %s", champion.version, before, error
                )
            return
        seconds = perf_counter() - started
        self._pipeline.swap(model)
        self._metrics.swap_seconds.observe(seconds)
        logger.info("model %s replaces %s, loaded in %.1f s", model.version, before, seconds)
