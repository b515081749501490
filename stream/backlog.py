"""How much of a topic a group has not finished: records that can be read, and not offsets.

Markers of transactions and what was aborted have offsets too. A short backlog is read and counted;
of a long one the offsets are told, which are close enough then.
"""

import time
from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition

from stream.fetching import Fetching
from stream.findings import Report
from stream.unreadable import Unreadable

MOST_COUNTED = 10_000
COUNT_SECONDS, POLL_SECONDS, FETCH_RECORDS = 2.0, 0.2, 1_000
UNREADABLE_ADVICE = (
    "its partition waits: see `ops/runbook.md`, or set BELLWETHER_UNREADABLE=skip to pass it over"
)

Offsets = Mapping[TopicPartition, int]


async def backlog(
    consumer: AIOKafkaConsumer, begins: Offsets, ends: Offsets, report: Report
) -> int:
    """Records from the begins to the ends; reports a batch that cannot be unpacked."""
    behind = {part: ends[part] - begins[part] for part in ends if ends[part] > begins[part]}
    if not behind or sum(behind.values()) > MOST_COUNTED:
        return sum(behind.values())
    consumer.assign([*behind])
    for part in behind:
        consumer.seek(part, begins[part])

    def met(unreadable: Unreadable) -> None:
        part = unreadable.partition
        if part in behind and unreadable.offset < ends[part]:
            report.wrong(str(unreadable), UNREADABLE_ADVICE)
            counted[part] += ends[part] - unreadable.offset
            del behind[part]

    counted = dict.fromkeys(behind, 0)
    fetching = Fetching(consumer, skips=False, met=met)
    until = time.monotonic() + COUNT_SECONDS
    while behind and time.monotonic() < until:
        found = await fetching.records([*behind], POLL_SECONDS, FETCH_RECORDS)
        for part, records in found.items():
            counted[part] += sum(record.offset < ends[part] for record in records)
        for part in [*behind]:
            behind[part] = max(0, ends[part] - await consumer.position(part))
            if not behind[part]:
                del behind[part]
    return sum(counted.values()) + sum(behind.values())
