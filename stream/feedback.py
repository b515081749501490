"""The way of feedback: check it, find its event, store the label, mark the document, acknowledge.

Promises on a crash, as in the pipeline: feedback is acknowledged only after the topic `labels` and
Elasticsearch (or the dead-letter topic) confirmed it, in the order of offsets; what comes again
is written again and changes nothing.

Nothing here waits in the way of news and messages: `submit` takes every record at once, and when
there are too many, `hold` stops the fetching of feedback alone. Feedback on an event that is not
indexed yet is put aside and looked up again every second, while what comes after it goes on.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from schemas.decoding import decode_feedback
from schemas.errors import Reason, RecordRejected
from schemas.taxonomy import Taxonomy
from stream.cancellation import cancelled
from stream.dead_letters import DeadLetterWriter
from stream.event_documents import EventDocuments, Places
from stream.events import Incoming
from stream.feedback_checks import check, no_such_event
from stream.feedback_labels import Opinion, labelling
from stream.ledger import Lane, Ledger, Ticket
from stream.metrics import Metrics
from stream.room import Room
from stream.settings import Settings
from stream.topic_writer import TopicWriter

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
ROUND_SECONDS = 0.05
# An event is looked for so often before the feedback's own text takes its place.
LOOKS_BESIDE_TEXT = 4
# Documents with their texts are in memory for one batch; raw feedback for what is under way.
BATCH_RECORDS = 64
MAX_RECORDS, MAX_BYTES = 1_000, 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class FeedbackParts:
    """What the feedback's way works with. `taxonomy` is asked for each record: a swapped model may
    have another. `compared` is told of each label's task and whether it differs from the model's
    answer."""

    taxonomy: Callable[[], Taxonomy]
    compared: Callable[[str, bool], None]
    documents: EventDocuments
    labels: TopicWriter
    dead_letters: DeadLetterWriter
    metrics: Metrics


class FeedbackDesk:
    """Takes feedback by `submit` and acknowledges each when its label is stored.

    `hold` is told when to stop and to resume fetching; `crash` is called, once a bug, with an
    exception that nobody expected.
    """

    def __init__(
        self,
        settings: Settings,
        parts: FeedbackParts,
        crash: Callable[[BaseException], None],
        hold: Callable[[bool], None],
    ) -> None:
        self._parts = parts
        self._metrics = parts.metrics
        self._crash = crash
        self._hold = hold
        self._held = False
        self._ledger = Ledger()
        self._room = Room(MAX_RECORDS, MAX_BYTES)
        self._arrived: asyncio.Queue[Opinion] = asyncio.Queue()
        self._rejected: asyncio.Queue[tuple[Incoming, Ticket, RecordRejected]] = asyncio.Queue()
        self._aside: list[Opinion] = []
        self._most_looks = 1 + math.ceil(settings.feedback_wait_seconds / LOOK_SECONDS)
        self._looks_beside_text = min(LOOKS_BESIDE_TEXT, self._most_looks)
        self._look_at = 0.0
        self._draining = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start work on the running loop."""
        self._tasks = [
            asyncio.create_task(self._guarded(stage)) for stage in (self._store(), self._bury())
        ]

    async def submit(self, incoming: Incoming) -> None:
        """Take a record, at once. Never raises for a bad record."""
        self._room.squeeze_in(incoming.size)
        lane = Lane(incoming.topic, incoming.partition, incoming.generation)
        ticket = self._ledger.open(lane, incoming.acknowledge)
        self._metrics.took(incoming.topic, stamped=incoming.arrival.stamp is not None)
        try:
            feedback = decode_feedback(incoming.content(), incoming.arrival.latest)
            task = check(feedback, self._parts.taxonomy())
        except RecordRejected as rejection:
            self._rejected.put_nowait((incoming, ticket, rejection))
        else:
            self._arrived.put_nowait(Opinion(incoming, ticket, feedback, task))
        if self._room.is_full:
            self._held = True
            self._hold(True)

    def forget(self) -> None:
        """The partitions were revoked: acknowledge nothing of what is under way, and drop what
        waits, which is another worker's by now."""
        self._ledger.forget()
        while not self._arrived.empty():
            self._leave(self._arrived.get_nowait().incoming)
        self._drop_aside()

    async def drain(self, seconds: float) -> None:
        """Wait until all is done but what waits for its event, for `seconds` at most."""
        self._draining = True
        self._drop_aside()
        try:
            async with asyncio.timeout(seconds):
                await self._room.empty()
        except TimeoutError:
            logger.warning("%d records of feedback come again", self._room.records)

    async def stop(self) -> None:
        """End work. What is under way is not acknowledged and comes again."""
        await cancelled(*self._tasks)

    async def _guarded(self, stage: Coroutine[Any, Any, None]) -> None:
        try:
            await stage
        except Exception as error:
            logger.exception("the way of feedback failed")
            self._crash(error)

    def _finish(self, incoming: Incoming, ticket: Ticket) -> None:
        self._ledger.finish(ticket)
        self._leave(incoming)

    def _leave(self, incoming: Incoming) -> None:
        self._room.leave(incoming.size)
        if self._held and self._room.records <= MAX_RECORDS // 2 and not self._room.is_full:
            self._held = False
            self._hold(False)

    def _drop_aside(self) -> None:
        dropped, self._aside = self._aside, []
        for opinion in dropped:
            self._leave(opinion.incoming)

    def _reject(self, opinion: Opinion, rejection: RecordRejected) -> None:
        self._rejected.put_nowait((opinion.incoming, opinion.ticket, rejection))

    async def _bury(self) -> None:
        """The dead letters' stage; a bad record never stops a good one."""
        while True:
            waiting = [await self._rejected.get()]
            while not self._rejected.empty():
                waiting.append(self._rejected.get_nowait())
            letters = [
                incoming.dead_letter(rejection.reason, str(rejection))
                for incoming, _, rejection in waiting
            ]
            await self._parts.dead_letters.write(letters)
            for incoming, ticket, rejection in waiting:
                self._metrics.dead_letters.labels(rejection.reason).inc()
                self._finish(incoming, ticket)

    async def _store(self) -> None:
        """The labels' stage: round by round, each with what has come in the meantime."""
        while True:
            opinions = await self._next_round()
            places = await self._parts.documents.locate({each.event for each in opinions})
            ready = self._whose_turn_it_is(self._still_ours(opinions), places)
            for first in range(0, len(ready), BATCH_RECORDS):
                with self._metrics.stage("label"):
                    await self._label(ready[first : first + BATCH_RECORDS], places)
            await asyncio.sleep(ROUND_SECONDS)

    async def _next_round(self) -> list[Opinion]:
        """What has arrived; when it is time to look again, behind all that was put aside."""
        arrived: list[Opinion] = []
        wait = max(0.0, self._look_at - monotonic()) if self._aside else None
        try:
            async with asyncio.timeout(wait):
                arrived.append(await self._arrived.get())
        except TimeoutError:
            pass
        while arrived and len(arrived) < BATCH_RECORDS and not self._arrived.empty():
            arrived.append(self._arrived.get_nowait())
        if monotonic() < self._look_at:
            return arrived
        self._look_at = monotonic() + LOOK_SECONDS
        aside, self._aside = self._aside, []
        return aside + arrived

    def _whose_turn_it_is(self, opinions: Sequence[Opinion], places: Places) -> list[Opinion]:
        """Those that can be stored. Puts aside what waits for its event, and what comes behind it
        under the same key; rejects what has waited long enough.

        Only looks that Elasticsearch answered are counted, so its outage costs nobody his wait.
        """
        ready = []
        waiting = {opinion.key for opinion in self._aside}
        for opinion in opinions:
            opinion.looks += 1
            found = opinion.event in places or self._can_do_without(opinion)
            if opinion.key not in waiting and found:
                ready.append(opinion)
            elif opinion.key in waiting or opinion.looks < self._most_looks:
                waiting.add(opinion.key)
                self._aside.append(opinion)
            else:
                self._reject(opinion, no_such_event(opinion.feedback))
        if self._draining:
            self._drop_aside()
        return ready

    def _can_do_without(self, opinion: Opinion) -> bool:
        """A text of its own will do, but not at once: the event may be on its way, and its document
        is to be marked."""
        if opinion.feedback.label is None:
            return True
        return not opinion.needs_event and opinion.looks >= self._looks_beside_text

    async def _label(self, opinions: Sequence[Opinion], places: Places) -> None:
        """Store labels of a bounded number: first in the topic, then on the documents."""
        documents = await self._parts.documents.read(
            {each.event: places[each.event] for each in opinions if each.event in places}
        )
        # Masking takes its time with long texts: the loop goes on meanwhile.
        made = await asyncio.to_thread(labelling, self._still_ours(opinions), documents)
        await self._parts.labels.write(made.outgoing)
        refused = await self._parts.documents.mark(places, made.marks)
        for opinion, rejection in made.rejected:
            self._reject(opinion, rejection)
        for opinion, differs in made.accepted:
            if message := refused.get(opinion.event):
                self._reject(opinion, RecordRejected(Reason.REJECTED_BY_INDEX, message))
            else:
                self._count(opinion.task.name, differs)
                self._finish(opinion.incoming, opinion.ticket)

    def _still_ours(self, opinions: Sequence[Opinion]) -> list[Opinion]:
        """Without those whose partitions were revoked while a server was waited for: by now
        another worker may have stored what came after them."""
        ours = [opinion for opinion in opinions if opinion.ticket in self._ledger]
        for opinion in opinions:
            if opinion.ticket not in self._ledger:
                self._leave(opinion.incoming)
        return ours

    def _count(self, task: str, differs: bool | None) -> None:
        self._metrics.feedback.labels(task).inc()
        if differs is not None:
            self._metrics.disagreement.labels(task).inc(differs)
            self._parts.compared(task, differs)
