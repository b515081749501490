"""Kafka: one node that is broker and controller (KRaft)."""

import contextlib
import socket
import struct
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ops.servers import distributions
from ops.servers.errors import ServerError
from ops.servers.ports import HOST, free_port
from ops.servers.server import Server, Tls, compiler_options, local, write_private

DEFAULT_PORT = 9092
MAX_MESSAGE_BYTES = 8 * 1024 * 1024
# Metadata request, version 4, about no topic: length, key, version, correlation id, client id
# (none), topics (none), topic creation (off). The answer counts the brokers that serve.
METADATA = struct.pack("!ihhihi?", 15, 3, 4, 1, -1, 0, False)
ANSWER_HEAD = struct.Struct("!iiii")  # length, correlation id, throttle, number of brokers


@dataclass(frozen=True, slots=True)
class Sasl:
    """The one user of a SASL_SSL listener, by PLAIN and by SCRAM-SHA-512."""

    user: str
    password: str


class Kafka(Server):
    """Kafka without topic creation on demand; optionally with a SASL_SSL listener beside."""

    name = "Kafka"

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        *,
        heap_mb: int = 384,
        long_running: bool = False,
        tls: Tls | None = None,
        sasl: Sasl | None = None,
    ) -> None:
        super().__init__(folder, port or free_port())
        self._heap_mb = heap_mb
        self._compiler = compiler_options(long_running)
        self._tls = tls
        self._sasl = sasl
        if (tls is None) != (sasl is None):
            raise ServerError("a SASL_SSL listener needs both certificates and a user")

    @property
    def address(self) -> str:
        return local(self.port)

    @property
    def sasl_address(self) -> str:
        """The address of the SASL_SSL listener."""
        if self._tls is None:
            raise ServerError("this Kafka has no SASL_SSL listener")
        return local(self._tls.port)

    def _prepare(self) -> None:
        write_private(self._properties_file, "\n".join(self._properties(free_port())) + "\n")
        if self._tls:
            pem = self._tls.key.read_text() + self._tls.certificate.read_text()
            write_private(self.folder / "keystore.pem", pem)
        if not (self.folder / "data/meta.properties").exists():
            self._format()

    @property
    def _properties_file(self) -> Path:
        return self.folder / "server.properties"

    def _format(self) -> None:
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # A leading dash would be read as an option.
        command = self._java("kafka.tools.StorageTool", "format", f"--cluster-id={cluster}")
        command += ["--config", str(self._properties_file)]
        if self._sasl:
            user = f"name={self._sasl.user},password={self._sasl.password}"
            command += ["--add-scram", f"SCRAM-SHA-512=[{user}]"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ServerError(f"Kafka's data folder could not be made: {done.stdout}{done.stderr}")

    def _java(self, main: str, *arguments: str) -> list[str]:
        jars = distributions.installed().kafka / "*"
        return [
            "java",
            "-Xms64m",
            f"-Xmx{self._heap_mb}m",
            "-XX:+UseSerialGC",
            *self._compiler,
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
            "-cp",
            str(jars),
            main,
            *arguments,
        ]

    def _command(self) -> Sequence[str]:
        return self._java("kafka.Kafka", str(self._properties_file))

    def _properties(self, controller_port: int) -> list[str]:
        listeners = [f"PLAINTEXT://{local(self.port)}"]
        secure: list[str] = []
        if self._tls and self._sasl:
            listeners.append(f"SASL_SSL://{local(self._tls.port)}")
            secure = self._secure_properties(self._tls, self._sasl)
        controller = f"CONTROLLER://{local(controller_port)}"
        protocols = "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL"
        return [
            "process.roles=broker,controller",
            "node.id=1",
            f"controller.quorum.voters=1@{local(controller_port)}",
            "controller.listener.names=CONTROLLER",
            f"listeners={','.join([*listeners, controller])}",
            f"advertised.listeners={','.join(listeners)}",
            f"listener.security.protocol.map={protocols}",
            "inter.broker.listener.name=PLAINTEXT",
            f"log.dirs={self.folder / 'data'}",
            "auto.create.topics.enable=false",
            f"message.max.bytes={MAX_MESSAGE_BYTES}",
            f"socket.request.max.bytes={4 * MAX_MESSAGE_BYTES}",
            "offsets.topic.replication.factor=1",
            "offsets.topic.num.partitions=8",
            "transaction.state.log.replication.factor=1",
            "transaction.state.log.min.isr=1",
            "transaction.state.log.num.partitions=2",
            "share.coordinator.state.topic.replication.factor=1",
            "share.coordinator.state.topic.min.isr=1",
            "group.initial.rebalance.delay.ms=0",
            "group.min.session.timeout.ms=1000",
            # A killed node is let in again only when its old session is over.
            "broker.session.timeout.ms=3000",
            "broker.heartbeat.interval.ms=500",
            # The cleaner's default buffer alone is a third of the heap.
            "log.cleaner.dedupe.buffer.size=16777216",
            *secure,
        ]

    def _secure_properties(self, tls: Tls, sasl: Sasl) -> list[str]:
        login = f'username="{sasl.user}" password="{sasl.password}"'
        plain = f'{login} user_{sasl.user}="{sasl.password}"'
        module = "org.apache.kafka.common.security"
        listener = "listener.name.sasl_ssl"
        return [
            "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512",
            f"{listener}.plain.sasl.jaas.config={module}.plain.PlainLoginModule required {plain};",
            f"{listener}.scram-sha-512.sasl.jaas.config={module}.scram.ScramLoginModule required;",
            f"{listener}.ssl.keystore.type=PEM",
            f"{listener}.ssl.keystore.location={self.folder / 'keystore.pem'}",
            f"{listener}.ssl.truststore.type=PEM",
            f"{listener}.ssl.truststore.location={tls.authority}",
        ]

    def answers(self) -> bool:
        return serves(self.port) and (self._tls is None or _accepts(self._tls.port))


def serves(port: int) -> bool:
    """Whether a Kafka on the port has at least one broker that serves."""
    with (
        contextlib.suppress(OSError, struct.error),
        socket.create_connection((HOST, port), timeout=1) as connection,
    ):
        connection.settimeout(2)
        connection.sendall(METADATA)
        head = connection.recv(ANSWER_HEAD.size, socket.MSG_WAITALL)
        _, correlation, _, brokers = ANSWER_HEAD.unpack(head)
        return bool(correlation == 1 and brokers > 0)
    return False


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False
