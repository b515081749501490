"""How the partitions of a topic are shared among the workers of a group."""

from typing import Any

from faust.assignor.partition_assignor import PartitionAssignor


class EvenAssignor(PartitionAssignor):
    """Faust's assignor as it is without standbys: every worker has its share.

    With standbys, which serve tables, a worker keeps what it has up to the rounded-up share: of
    four partitions two workers may keep two each, and a third stands idle. Kafka's round robin, to
    which Faust turns where no standbys are set, cannot join a group of older workers.
    """

    def __init__(self, app: Any, replicas: int = 0) -> None:
        super().__init__(app, replicas=0)
