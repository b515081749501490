"""Two brokers of one cluster: the second may be killed, the first is the controller too."""

import subprocess
from pathlib import Path

from ops.servers import Kafka
from ops.servers.server import local


class First(Kafka):
    """Broker and controller; offsets of groups are kept on both."""

    def _properties(self, controller_port: int) -> list[str]:
        return [
            *super()._properties(controller_port),
            "offsets.topic.replication.factor=2",
            "default.replication.factor=2",
        ]

    def line(self, name: str) -> str:
        """One line of its configuration."""
        lines = self._properties_file.read_text().splitlines()
        return next(line for line in reversed(lines) if line.startswith(f"{name}="))

    @property
    def cluster_id(self) -> str:
        lines = (self.folder / "data/meta.properties").read_text().splitlines()
        return next(line.partition("=")[2] for line in lines if line.startswith("cluster.id="))


class Second(Kafka):
    """A broker of the first one's cluster, which must run already."""

    def __init__(self, folder: Path, first: First) -> None:
        super().__init__(folder, heap_mb=384)
        self._first = first

    def _format(self) -> None:
        command = self._java("kafka.tools.StorageTool", "format", "--config")
        command += [str(self._properties_file), f"--cluster-id={self._first.cluster_id}"]
        subprocess.run(command, capture_output=True, check=True)

    def _properties(self, controller_port: int) -> list[str]:
        # Of a property that is given twice Java takes the last.
        return [
            *super()._properties(controller_port),
            "process.roles=broker",
            "node.id=2",
            self._first.line("controller.quorum.voters"),
            f"listeners=PLAINTEXT://{local(self.port)}",
        ]
