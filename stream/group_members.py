"""Who is in the workers' consumer group: workers, and clients that have no business there."""

import asyncio
from dataclasses import dataclass

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError

from stream.findings import Report

COORDINATOR_TRIES = 6
COORDINATOR_PAUSE_SECONDS = 0.4
# How workers share partitions (`assignor.py`). Kafka lets nobody into a group who does not know
# the way in which its members share, so either all of them are workers or none is.
PROTOCOL = "faust"


@dataclass(frozen=True, slots=True)
class Members:
    """The number of workers, and each other client, as `NAME at HOST`."""

    workers: int
    foreign: tuple[str, ...]


async def members_of(admin: AIOKafkaAdminClient, group: str) -> Members:
    """Those of now; while they share partitions out anew all of them count as workers."""
    # A cluster without any group yet makes itself ready for groups when first asked.
    for _ in range(COORDINATOR_TRIES - 1):
        try:
            await admin.find_coordinator(group)
            break
        except GroupCoordinatorNotAvailableError:
            await asyncio.sleep(COORDINATOR_PAUSE_SECONDS)
    (answer,) = await admin.describe_consumer_groups([group])
    found = answer.to_object()["groups"][0]
    if found["protocol"] in ("", PROTOCOL):
        return Members(len(found["members"]), ())
    foreign = {f"{one['client_id']} at {one['client_host'].strip('/')}" for one in found["members"]}
    return Members(0, tuple(sorted(foreign)))


def report_foreign(members: Members, group: str, report: Report) -> None:
    """Name the clients that keep workers out."""
    if members.foreign:
        report.wrong(
            f"in the group {group} there is a client that is no worker: "
            f"{', '.join(members.foreign)}. No worker can join",
            "end it, or give it a group of its own",
        )
