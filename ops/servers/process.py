"""A server's process and its children, known by a file so that a later command finds them.

A server leads a session of its own, so its children are found by their session id. The file
holds process id, start time and boot id: a process id alone may by now be somebody else's.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ops.servers.errors import ServerError

PROC = Path("/proc")
KILL_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Stat:
    """The fields of /proc/PID/stat that are used here."""

    pid: int
    state: str
    session: int
    started_ticks: int

    @classmethod
    def read(cls, pid: int) -> "Stat | None":
        try:
            text = (PROC / str(pid) / "stat").read_text()
        except OSError:
            return None
        # The second field is the command in brackets and may hold spaces and brackets itself.
        fields = text.rpartition(")")[2].split()
        return cls(pid, fields[0], int(fields[3]), int(fields[19]))


class Process:
    """The process group of one server, remembered in a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._child: subprocess.Popen[bytes] | None = None

    def spawn(
        self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start the command in a session of its own, its output appended to the log."""
        given = [f"{name}={value}" for name, value in (environment or {}).items()]
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                ["env", *given, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        stat = Stat.read(self._child.pid)
        started = stat.started_ticks if stat else 0
        self._file.write_text(f"{self._child.pid} {started} {_boot_id()}\n")

    @property
    def pid(self) -> int | None:
        """The leader's process id, or None where nothing was started in this boot."""
        remembered = self._remembered()
        return remembered[0] if remembered else None

    @property
    def running(self) -> bool:
        """Whether the leader is alive and is the process that was started."""
        if self._child is not None:
            self._child.poll()  # takes a dead child off the process table
        remembered = self._remembered()
        stat = Stat.read(remembered[0]) if remembered else None
        return bool(stat and remembered and stat.state != "Z" and _same(stat, remembered))

    def members(self) -> list[int]:
        """Living processes of the group: the leader and its children, also without a leader."""
        remembered = self._remembered()
        if remembered is None:
            return []
        leader, started = remembered
        holder = Stat.read(leader)
        if holder and not _same(holder, remembered):
            return []
        stats = (Stat.read(int(entry.name)) for entry in PROC.iterdir() if entry.name.isdigit())
        return [
            stat.pid
            for stat in stats
            if stat and stat.session == leader and stat.started_ticks >= started
            if stat.state not in "ZX"
        ]

    def signal(self, number: signal.Signals) -> None:
        """Send the signal to the leader and its children."""
        for pid in self.members():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """kill -9 of the whole group; returns when it is gone."""
        deadline = time.monotonic() + KILL_SECONDS
        while self.members():
            if time.monotonic() > deadline:
                raise ServerError(f"process {self.pid} does not end on kill -9")
            self.signal(signal.SIGKILL)
            self._reap(0.02)
        self._reap(0.02)
        self._file.unlink(missing_ok=True)

    def stop(self, seconds: float) -> None:
        """Ask the leader to end; kill what is left after the given time."""
        pid = self.pid
        if pid is not None and self.running:
            self.signal(signal.SIGCONT)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + seconds
            while self.members() and time.monotonic() < deadline:
                self._reap(0.05)
        self.kill()

    def _reap(self, pause_seconds: float) -> None:
        time.sleep(pause_seconds)
        if self._child is not None:
            self._child.poll()

    def _remembered(self) -> tuple[int, int] | None:
        try:
            pid, started, boot = self._file.read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return (int(pid), int(started)) if boot == _boot_id() else None


def _same(stat: Stat, remembered: tuple[int, int]) -> bool:
    return (stat.pid, stat.started_ticks) == remembered


def _boot_id() -> str:
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()
