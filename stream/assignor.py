"""How the partitions of a topic are shared among the workers of a group."""

from typing import Any

from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from faust.assignor.client_assignment import ClientAssignment, ClientMetadata
from faust.assignor.partition_assignor import PartitionAssignor


class EvenAssignor(PartitionAssignor):
    """Faust's assignor as it is without standbys: every worker has its share.

    With standbys, which serve tables, a worker keeps what it has up to the rounded-up share: of
    four partitions two workers may keep two each, and a third stands idle. Kafka's round robin, to
    which Faust turns where no standbys are set, cannot join a group of older workers.
    """

    def __init__(self, app: Any, replicas: int = 0) -> None:
        super().__init__(app, replicas=0)

    @classmethod
    def _get_client_metadata(cls, metadata: ConsumerProtocolMemberMetadata) -> ClientMetadata:
        """Without what the worker has: of a topic that was made anew with fewer partitions Faust
        would let it keep those that are no more, and fail when it gives out the others."""
        told = super()._get_client_metadata(metadata)
        told.assignment = ClientAssignment(actives={}, standbys={})
        return told
