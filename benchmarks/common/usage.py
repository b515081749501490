"""Who used how much processor time."""

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

import psutil

from stream.settings import Settings

LOOPBACK = ("127.0.0.1", "localhost", "::1")
LOOP, MODEL = "worker: event loop", "worker: model and other threads"
OTHERS = "anything else on this machine"


@dataclass(frozen=True, slots=True)
class Watched:
    """The processes whose processor time counts under one name."""

    name: str
    processes: tuple[psutil.Process, ...]

    def seconds(self) -> float:
        """User and system time of all of them so far."""
        return sum(_seconds(process) for process in self.processes)


def local_servers(settings: Settings) -> list[Watched]:
    """The servers of the settings that run on this machine."""
    addresses = {
        "Kafka": f"kafka://{settings.kafka}",
        "Elasticsearch": settings.elasticsearch,
        "Redis": settings.redis.get_secret_value(),
    }
    found = [Watched(name, _listening(address)) for name, address in addresses.items()]
    return [watched for watched in found if watched.processes]


def _listening(address: str) -> tuple[psutil.Process, ...]:
    """Who listens on a single plain address of this machine; empty where that is nobody."""
    parts = urlsplit(address)
    if parts.hostname not in LOOPBACK or "," in address:
        return ()
    pids = {
        connection.pid
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
        and connection.laddr
        and connection.laddr.port == parts.port
        and connection.pid
    }
    return tuple(psutil.Process(pid) for pid in pids)


def worker_process(supervisor: int) -> psutil.Process:
    """The one process below a supervisor that does the work: the one that used most time."""
    return max(psutil.Process(supervisor).children(recursive=True), key=_seconds)


def used(process: psutil.Process, servers: Iterable[Watched]) -> dict[str, float]:
    """Processor seconds so far by name; the worker's event loop apart from its other threads.

    Those of OTHERS count from some time before, as all others do, so only differences mean
    something. Much of it means that the measurement was disturbed.
    """
    threads = {thread.id: thread.user_time + thread.system_time for thread in process.threads()}
    loop = threads.get(process.pid, 0.0)
    ours = {
        LOOP: loop,
        MODEL: _seconds(process) - loop,
        **{watched.name: watched.seconds() for watched in servers},
    }
    return ours | {OTHERS: _busy_seconds() - sum(ours.values())}


def _busy_seconds() -> float:
    """Of all cores since the machine was started."""
    times = psutil.cpu_times()
    steal = getattr(times, "steal", 0.0)
    return float(times.user + times.nice + times.system + times.irq + times.softirq + steal)


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
