"""Judges stored documents anew by the model of today, without alerts.

It may be ended at any point and started again: a document that carries the model's version already
is passed over. What people and the worker wrote beside the model's fields (`human`, `origin`, the
record itself) stays, a document that is deleted meanwhile does not come back, and one that changes
meanwhile is read and judged again: what the model says is of the text beside it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from elasticsearch import AsyncElasticsearch
from pydantic import ValidationError

from schemas.documents import SYMBOLS_CUT
from schemas.records import RECORD_TYPES, Kind, Record
from schemas.times import format_rfc3339
from stream.bulk import send_bulk
from stream.champion import model_folder
from stream.classifiers import Model, load_model
from stream.clients import make_elasticsearch
from stream.elastic_errors import expected_to_answer
from stream.settings import Settings
from stream.wording import counted

EVENT_TIMES = {Kind.NEWS: "published_at", Kind.MESSAGE: "sent_at"}
PAGE = 256
_UNREAD = ["origin", "human"]

Hit = dict[str, Any]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Documents of these kinds with an event time from `start` up to but without `end`.

    everything: also those that the model of today has judged.
    """

    kinds: tuple[Kind, ...]
    start: datetime
    end: datetime
    everything: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many documents were judged anew, and how many are no records that could be read."""

    model_version: str
    judged: int = 0
    unreadable: int = 0

    def __str__(self) -> str:
        said = f"{counted(self.judged, 'document')} judged anew by {self.model_version}"
        return said + (f", {self.unreadable:,} cannot be read" if self.unreadable else "")


async def reclassify(settings: Settings, wanted: Wanted, progress: Progress) -> Outcome:
    """Judge what is wanted; `progress` takes the stream, how many are done and how many there are.

    Raises ServerUnavailable, what `model_folder` and `load_model` raise, and BellwetherError where
    Elasticsearch refuses what is to be written.
    """
    client = make_elasticsearch(settings)
    try:
        with expected_to_answer(client):
            await client.cluster.health()  # before the model is loaded, which takes seconds
            model = await asyncio.to_thread(_load, settings)
            work = _Reclassification(client, settings.prefix, model, wanted)
            for kind in wanted.kinds:
                await work.run(kind, progress)
    finally:
        await client.close()
    return Outcome(model.version, work.judged, work.unreadable)


def _load(settings: Settings) -> Model:
    return load_model(model_folder(settings), settings, threads=settings.threads)


class _Reclassification:
    def __init__(
        self, client: AsyncElasticsearch, prefix: str, model: Model, wanted: Wanted
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._model = model
        self._wanted = wanted
        self.judged = 0
        self.unreadable = 0

    async def run(self, kind: Kind, progress: Progress) -> None:
        """Judge the documents of one kind."""
        done = 0
        async for hits, total in self._pages(kind):
            done += len(hits)
            while hits:
                hits = await self._judge(kind, hits)
            progress(kind.stream, done, total)

    async def _judge(self, kind: Kind, hits: Sequence[Hit]) -> list[Hit]:
        """Judge documents; return those that have changed meanwhile, as they are now."""
        readable = [(hit, record) for hit in hits if (record := _record(kind, hit))]
        actions = await asyncio.to_thread(self._actions, kind, readable)
        changed = await send_bulk(self._client, actions, refresh=False, conditional=True)
        self.judged += len(actions) - len(changed)
        self.unreadable += len(hits) - len(actions)
        if not changed:
            return []
        places = [{name: readable[i][0][name] for name in ("_index", "_id")} for i in changed]
        found = await self._client.mget(docs=places, source_excludes=_UNREAD)
        return [hit for hit in found["docs"] if hit.get("found")]

    async def _pages(self, kind: Kind) -> AsyncIterator[tuple[list[Hit], int]]:
        """Hits in the order of their ids, which no update changes, and how many there are."""
        alias = f"{self._prefix}{kind.stream}"
        await self._client.indices.refresh(index=alias, ignore_unavailable=True)
        after, total = None, 0
        while True:
            found = await self._client.search(
                index=alias,
                query=self._query(kind),
                source_excludes=_UNREAD,
                seq_no_primary_term=True,
                sort=["id", "_index"],  # an id may stand in two months
                search_after=after,
                size=PAGE,
                track_total_hits=after is None,
                ignore_unavailable=True,
            )
            hits: list[Hit] = found["hits"]["hits"]
            total = total or found["hits"]["total"]["value"]
            if hits:
                yield hits, total
            if len(hits) < PAGE:
                return
            after = hits[-1]["sort"]

    def _query(self, kind: Kind) -> dict[str, Any]:
        span = {
            "gte": format_rfc3339(self._wanted.start),
            "lt": format_rfc3339(self._wanted.end),
        }
        query: dict[str, Any] = {"filter": {"range": {EVENT_TIMES[kind]: span}}}
        if not self._wanted.everything:
            query["must_not"] = {"term": {"model_version": self._model.version}}
        return {"bool": query}

    def _actions(self, kind: Kind, readable: Sequence[tuple[Hit, Record]]) -> list[bytes]:
        """Updates of what the model says."""
        records = [record for _, record in readable]
        answers = self._model.classifier.classify(
            [record.text for record in records],
            [kind] * len(records),
            languages=[record.language for record in records],
        )
        judgements = map(self._model.analysis.judgement, records, answers)
        return [_update(hit, judged) for (hit, _), judged in zip(readable, judgements, strict=True)]


def _record(kind: Kind, hit: Hit) -> Record | None:
    try:
        return RECORD_TYPES[kind].model_validate({"source": None, **hit["_source"]})
    except ValidationError:
        return None


def _update(hit: Hit, judged: dict[str, Any]) -> bytes:
    """Of the model's fields alone, if the document is as it was read. Own tasks that this model
    does not have are taken away; that symbols were cut off shows in the flags alone, and stays."""
    stale: dict[str, Any] = {"tasks": []} if "tasks" in hit["_source"] else {}
    if SYMBOLS_CUT in hit["_source"].get("flags", ()):
        judged = {**judged, "flags": [SYMBOLS_CUT, *judged["flags"]]}
    place = {"_index": hit["_index"], "_id": hit["_id"]}
    place |= {"if_seq_no": hit["_seq_no"], "if_primary_term": hit["_primary_term"]}
    return b"".join(
        orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
        for line in ({"update": place}, {"doc": {**stale, **judged}})
    )
