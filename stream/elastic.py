"""The sink of documents: Elasticsearch.

Promise: `ElasticSink.write` returns when each document is stored (acknowledged by its shard, so
that it survives a crash) or is refused for good. Everything else, whether an outage, a block, a
full disk, wrong credentials or an error nobody has seen, is waited out, and only what is not stored
yet is sent again.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from elasticsearch import (
    ApiError,
    AsyncElasticsearch,
    AuthorizationException,
    TransportError,
)

from schemas.documents import Write
from stream.elastic_errors import Failure, explain, refuses_whole
from stream.indices import install_templates as install_templates
from stream.retry import pauses

MAX_REQUEST_ITEMS = 1_000
MAX_REQUEST_BYTES = 8 * 1024 * 1024
REQUEST_TIMEOUT_SECONDS = 30
CONFLICT_RETRIES = 3
_NOTHING_DONE = "noop"
_COMPLAINT_SECONDS = 10
_CONFLICT = 409
_ANSWER_FIELDS = "items.*.status,items.*.result,items.*.error.type,items.*.error.reason"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rejection:
    """A write that can never succeed. `position` is its place in the call, `message` is for a
    person and holds no text of the document. In a `conflict` another document is there already, or
    the one to be replaced is of another version by now: read it."""

    position: int
    message: str
    conflict: bool = False


Rejections = dict[int, Rejection]  # by position


@dataclass(slots=True)
class _Item:
    """A write as the two lines of a bulk body, encoded once for all attempts."""

    position: int
    index: str
    lines: bytes


class ElasticSink:
    """Writes documents in bulk. `on_retry` is called for each attempt repeated.

    A write never touches a document that it does not know: such is a conflict, and whoever wrote
    reads it. So calls may run side by side, in any worker.
    """

    def __init__(self, client: AsyncElasticsearch, on_retry: Callable[[], None]) -> None:
        self._client = client.options(
            max_retries=0, retry_on_timeout=False, request_timeout=REQUEST_TIMEOUT_SECONDS
        )
        self._on_retry = on_retry
        self._complained_at = float("-inf")

    async def write(self, writes: Sequence[Write]) -> list[Rejection]:
        """Store all; return those refused for good and those in conflict, by position.

        Waits for as long as it takes and may be cancelled at any point; repeating a call, or a
        part of it, changes nothing that is stored.
        """
        rejected: Rejections = {}
        for items in _requests(_encoded(writes, rejected)):
            await self._settle(items, rejected)
        return [rejected[position] for position in sorted(rejected)]

    async def _settle(self, items: list[_Item], rejected: Rejections) -> None:
        waits = pauses()
        while items:
            if await anext(waits) > 0:
                self._on_retry()
            unsettled = await self._attempt(items, rejected)
            if len(unsettled) < len(items):
                waits = pauses()  # there is progress: knock quickly again, after one short pause
                await anext(waits)
            items = unsettled

    async def _attempt(self, items: list[_Item], rejected: Rejections) -> list[_Item]:
        """Send once; return what is neither stored nor rejected."""
        try:
            failures = await self._send(items)
        except (ApiError, TransportError) as error:
            if refuses_whole(error):
                return await self._halve(items, rejected)
            self._complain(explain(error), len(items))
            return items
        return await self._sort(failures, rejected) if failures else []

    async def _send(self, items: Sequence[_Item]) -> list[tuple[_Item, Failure]]:
        """One bulk request; return what failed of it."""
        response = await self._client.bulk(
            body=b"".join([item.lines for item in items]),  # type: ignore[arg-type]
            filter_path=_ANSWER_FIELDS,
        )
        answers = _answers(response.body)
        if len(answers) != len(items):
            raise TransportError("the answer does not say what became of each document")
        return [
            (item, failure)
            for item, answer in zip(items, answers, strict=True)
            if (failure := _failure(answer))
        ]

    async def _sort(
        self, failures: Sequence[tuple[_Item, Failure]], rejected: Rejections
    ) -> list[_Item]:
        """Reject what is a document's own fault; return the rest."""
        blamed = {item.index for item, failure in failures if failure.blames_document}
        standing = await self._standing(blamed) if blamed else ()
        unsettled = []
        for item, failure in failures:
            if failure.blames_document and item.index in standing:
                _reject(item, failure, rejected)
            elif failure.status == _CONFLICT:
                message = "another one is there"
                rejected[item.position] = Rejection(item.position, message, conflict=True)
            else:
                unsettled.append((item, failure))
        if unsettled:
            item, failure = unsettled[0]
            self._complain(f"index {item.index}: {failure.for_log()}", len(unsettled))
        return [item for item, _ in unsettled]

    async def _standing(self, indices: Collection[str]) -> Collection[str]:
        """Those of the indices that exist under this very name.

        Where the index could not be made, from a broken template for instance, or where an alias
        has its name, the same errors come for every document, and none is to blame.
        """
        try:
            response = await self._client.indices.get_settings(
                index=sorted(indices), name="index.uuid", ignore_unavailable=True
            )
        except AuthorizationException:
            return indices
        except (ApiError, TransportError):
            return ()
        return list(response.body)

    async def _halve(self, items: list[_Item], rejected: Rejections) -> list[_Item]:
        """A request was refused as a whole: find the culprit, pass the others."""
        if len(items) == 1:
            return await self._judge(items[0], rejected)
        middle = len(items) // 2
        return [
            *await self._attempt(items[:middle], rejected),
            *await self._attempt(items[middle:], rejected),
        ]

    async def _judge(self, suspect: _Item, rejected: Rejections) -> list[_Item]:
        """Reject a document that is refused by a server that takes others; else return it.

        It is sent once more after the proof, since a server or proxy that refused all may have
        come to its senses just then.
        """
        if not await self._takes_requests(suspect.index):
            self._complain("it refuses every request: is this address Elasticsearch's own?", 1)
            return [suspect]
        try:
            failures = await self._send([suspect])
        except ApiError as error:
            if not refuses_whole(error):
                return [suspect]
            _reject(suspect, Failure.of_request(error), rejected)
            return []
        except TransportError:
            return [suspect]
        return await self._sort(failures, rejected) if failures else []

    async def _takes_requests(self, index: str) -> bool:
        """Whether a bulk that is right beyond doubt, and changes nothing, passes: else the refusal
        of a document says nothing about it, as with a proxy that spoils all."""
        nothing = _line({"update": {"_index": index, "_id": "nothing"}}) + _line({"doc": {}})
        try:
            await self._client.bulk(body=nothing, filter_path="errors")  # type: ignore[arg-type]
        except (ApiError, TransportError):
            return False
        return True

    def _complain(self, reason: str, waiting: int) -> None:
        now = time.monotonic()
        if now - self._complained_at >= _COMPLAINT_SECONDS:
            self._complained_at = now
            logger.warning(
                "Elasticsearch does not store, %d documents wait: %s; trying again", waiting, reason
            )


def _reject(item: _Item, failure: Failure, rejected: Rejections) -> None:
    rejected[item.position] = Rejection(item.position, failure.for_dead_letter())


def _encoded(writes: Iterable[Write], rejected: Rejections) -> Iterator[_Item]:
    """The writes as lines; one that is no JSON is rejected here."""
    for position, write in enumerate(writes):
        action, body = _replacement(write) if write.replaces else _insertion(write)
        try:
            lines = _line(action) + _line(body)
        except orjson.JSONEncodeError as error:
            message = f"the document cannot be written as JSON: {error}"
            rejected[position] = Rejection(position, message)
        else:
            yield _Item(position, write.index, lines)


def _insertion(write: Write) -> tuple[dict[str, Any], dict[str, Any]]:
    """An upsert that changes nothing of a document that is there, and says so."""
    action = {"_index": write.index, "_id": write.id, "retry_on_conflict": CONFLICT_RETRIES}
    return {"update": action}, {"doc": {}, "upsert": write.doc}


def _replacement(write: Write) -> tuple[dict[str, Any], dict[str, Any]]:
    assert write.replaces is not None
    seq_no, primary_term = write.replaces
    action = {
        "_index": write.index,
        "_id": write.id,
        "if_seq_no": seq_no,
        "if_primary_term": primary_term,
    }
    return {"index": action}, write.doc


def _line(value: dict[str, Any]) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)


def _requests(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    """Portions of bounded number and size; a larger document goes alone."""
    portion: list[_Item] = []
    size = 0
    for item in items:
        full = len(portion) == MAX_REQUEST_ITEMS or size + len(item.lines) > MAX_REQUEST_BYTES
        if portion and full:
            yield portion
            portion, size = [], 0
        portion.append(item)
        size += len(item.lines)
    if portion:
        yield portion


def _failure(answer: dict[str, Any]) -> Failure | None:
    """What is wrong with an item of a bulk's answer; where it was to be inserted and another
    document is there, nothing was done."""
    if answer.get("result") == _NOTHING_DONE:
        return Failure(_CONFLICT, "", "")
    return Failure.of_item(answer)


def _answers(body: Any) -> list[dict[str, Any]]:
    """The items of a bulk's answer; none where something else answered."""
    items = body.get("items") if isinstance(body, dict) else None
    return [answer for item in items or () for answer in item.values()]
