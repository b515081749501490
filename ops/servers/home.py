"""The three servers of one home folder, with the file that names their addresses."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ops.servers import distributions, elasticsearch, kafka, redis, system
from ops.servers.elasticsearch import Elasticsearch
from ops.servers.errors import ServerError
from ops.servers.kafka import Kafka
from ops.servers.ports import HOST, free_port, is_free
from ops.servers.redis import Redis
from ops.servers.server import Server

LOOPBACK = (HOST, "localhost")


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the three: its setting, default port, and how to make and to recognise it."""

    setting: str
    default_port: int
    make: Callable[[Path, int, bool], Server]
    recognise: Callable[[int], bool]

    @property
    def name(self) -> str:
        return self.setting.capitalize()

    @property
    def variable(self) -> str:
        return f"BELLWETHER_{self.setting.upper()}"


# The slowest first: while it starts, the others are prepared.
KINDS = (
    Kind(
        "elasticsearch",
        elasticsearch.DEFAULT_PORT,
        lambda folder, port, long_running: Elasticsearch(folder, port, long_running=long_running),
        lambda port: elasticsearch.ask(port, "/_cluster/health") is not None,
    ),
    Kind(
        "kafka",
        kafka.DEFAULT_PORT,
        lambda folder, port, long_running: Kafka(folder, port, long_running=long_running),
        kafka.serves,
    ),
    Kind(
        "redis",
        redis.DEFAULT_PORT,
        lambda folder, port, _: Redis(folder, port),
        lambda port: bool(redis.ask(port)),
    ),
)


class Home:
    """Starts and ends the servers of a home folder.

    ``addresses`` are the settings a user gave (kafka, redis, elasticsearch): a server on another
    machine, or one that answers there already and is not ours, is left to its owner. Servers for
    a short run (``long_running=False``) start in half the time and are slower under load.
    """

    def __init__(
        self,
        folder: Path,
        addresses: Mapping[str, str] | None = None,
        say: Callable[[str], None] = print,
        *,
        long_running: bool = True,
    ) -> None:
        self.folder = folder.resolve()
        self._given = {name: value for name, value in (addresses or {}).items() if value}
        self._say = say
        self._long_running = long_running

    @classmethod
    def of(
        cls,
        environment: Mapping[str, str],
        say: Callable[[str], None] = print,
        *,
        long_running: bool = True,
    ) -> "Home":
        """The home that the BELLWETHER_ variables of an environment name."""
        addresses = {kind.setting: environment.get(kind.variable, "") for kind in KINDS}
        folder = Path(environment.get("BELLWETHER_HOME") or ".bellwether")
        return cls(folder, addresses, say, long_running=long_running)

    @property
    def environment_file(self) -> Path:
        """The file that the command line reads where a setting is not given."""
        return self.folder / "servers.env"

    def up(self) -> dict[str, str]:
        """Start what does not run, wait until each answers; returns the lines of servers.env.

        Raises ServerError; what runs by then goes on running.
        """
        system.require("java", "mvn", "redis-server", "setpriv", say=self._say)
        distributions.installed(self._say)
        self.folder.mkdir(parents=True, exist_ok=True)
        # One at a time for all homes, so that two do not choose the same port.
        with distributions.lock("up"):
            began = time.monotonic()
            # All ports first: one that is refused shall leave no server behind.
            servers = [server for kind in KINDS if (server := self._planned(kind))]
            for server in servers:
                if not server.running:
                    self._say(f"{server.name}: starting on {server.address} ...")
                    server.start()
            self._write_addresses(servers)
            for server in reversed(servers):
                server.wait_ready()
                self._say(f"{server.name}: answers after {time.monotonic() - began:.1f} s")
        return self.addresses()

    def down(self) -> None:
        """End the servers of this home, and only those."""
        with distributions.lock("up"):
            for kind in reversed(KINDS):
                server = self._server(kind)
                if server.pids:
                    self._say(f"{kind.name}: ending ...")
                server.stop()
        self._say("No server of this home runs any more; its data stays.")

    def status(self) -> bool:
        """Say of each whether it answers; True if all do."""
        answering = [self._tell(self._server(kind), kind) for kind in KINDS]
        return all(answering)

    def addresses(self) -> dict[str, str]:
        """The variables in servers.env; empty where nothing was started."""
        if not self.environment_file.exists():
            return {}
        lines = self.environment_file.read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def _tell(self, server: Server, kind: Kind) -> bool:
        answers = server.running and server.answers()
        state = "answers" if answers else "does not answer" if server.running else "is not started"
        self._say(f"{kind.name}: {server.address} {state}")
        return answers

    def _server(self, kind: Kind, port: int | None = None) -> Server:
        remembered = _port(self.addresses().get(kind.variable, ""))
        port = port or remembered or kind.default_port
        return kind.make(self.folder / kind.setting, port, self._long_running)

    def _planned(self, kind: Kind) -> Server | None:
        """The server as it runs or is to be started; None where others see to it."""
        server = self._server(kind)
        if server.running:
            self._say(f"{kind.name}: runs already on {server.address}")
            return server
        if self._belongs_to_others(kind):
            return None
        return self._server(kind, self._choose_port(kind, server.port))

    def _belongs_to_others(self, kind: Kind) -> bool:
        given = self._given.get(kind.setting, "")
        if not given:
            return False
        port = _port(given)
        if port is None or (not is_free(port) and kind.recognise(port)):
            self._say(f"{kind.name}: {_public(given)} is used as it is, nothing is started")
            return True
        return False

    def _choose_port(self, kind: Kind, wanted: int) -> int:
        given = _port(self._given.get(kind.setting, ""))
        if given is not None:
            if not is_free(given):
                raise ServerError(
                    f"{kind.variable} names port {given}, which another program holds"
                )
            return given
        port = free_port(wanted)
        if port != wanted:
            self._say(f"{kind.name}: port {wanted} is taken, so {port} is used")
        return port

    def _write_addresses(self, servers: list[Server]) -> None:
        variables = {kind.name: kind.variable for kind in KINDS}
        lines = [f"{variables[server.name]}={server.address}\n" for server in servers]
        self.environment_file.write_text("".join(lines))


def _port(address: str) -> int | None:
    """The port of a plain address on this machine, else None."""
    parts = urlsplit(address if "://" in address else f"kafka://{address}")
    plain = parts.scheme in ("kafka", "redis", "http") and not parts.password
    try:
        return parts.port if plain and parts.hostname in LOOPBACK else None
    except ValueError:
        return None


def _public(address: str) -> str:
    """The address without what may be a password."""
    return address.rpartition("@")[2]
