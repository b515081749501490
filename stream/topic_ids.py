"""Which topic a name stands for now: Kafka gives each topic an id, a name may be given anew.

aiokafka knows names only. The request here is version 10 of Kafka's metadata request, which every
broker since 2.8 understands; it makes no topic.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from io import BytesIO
from uuid import UUID

from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

_METADATA = 3
_LEADERLESS = -1


class _Uuid(AbstractType[UUID]):  # type: ignore[misc]
    @classmethod
    def encode(cls, value: UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> UUID:
        return UUID(bytes=data.read(16))


_STRING = CompactString("utf-8")
_TAGS = ("tags", TaggedFields)
_BROKER = (("node_id", Int32), ("host", _STRING), ("port", Int32), ("rack", _STRING), _TAGS)
_PARTITION = (
    ("error_code", Int16),
    ("partition", Int32),
    ("leader", Int32),
    ("leader_epoch", Int32),
    ("replicas", CompactArray(Int32)),
    ("isr", CompactArray(Int32)),
    ("offline_replicas", CompactArray(Int32)),
    _TAGS,
)
_TOPIC = (
    ("error_code", Int16),
    ("name", _STRING),
    ("id", _Uuid),
    ("is_internal", Boolean),
    ("partitions", CompactArray(*_PARTITION)),
    ("authorized_operations", Int32),
    _TAGS,
)


class _Answer(Response):  # type: ignore[misc]
    API_KEY = _METADATA
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", CompactArray(*_BROKER)),
        ("cluster_id", _STRING),
        ("controller_id", Int32),
        ("topics", CompactArray(*_TOPIC)),
        ("cluster_authorized_operations", Int32),
        _TAGS,
    )


class _Question(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = _METADATA
    API_VERSION = 10
    RESPONSE_TYPE = _Answer
    SCHEMA = Schema(
        ("topics", CompactArray(("id", _Uuid), ("name", _STRING), _TAGS)),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        _TAGS,
    )


class _Ask(Request[_Question]):  # type: ignore[misc]
    API_KEY = _METADATA

    def __init__(self, names: Collection[str]) -> None:
        self._names = names

    def build(self, request_struct_class: type[_Question]) -> _Question:
        nameless = UUID(int=0)
        return request_struct_class(
            [(nameless, name, {}) for name in self._names], False, False, False, {}
        )


@dataclass(frozen=True, slots=True)
class SeenTopic:
    """What a name stands for: the id in hexadecimal digits, the number of partitions, and whether
    each of them has a leader."""

    id: str
    partitions: int
    is_led: bool = True


async def look(client: AIOKafkaClient, names: Collection[str]) -> Mapping[str, SeenTopic]:
    """The topics of these names that are there. Raises KafkaError."""
    if not names:
        return {}
    answer = await client.send(client.get_random_node(), _Ask(names))
    return {
        topic["name"]: SeenTopic(
            topic["id"].hex,
            len(topic["partitions"]),
            all(partition["leader"] != _LEADERLESS for partition in topic["partitions"]),
        )
        for topic in answer.to_object()["topics"]
        if topic["error_code"] == 0
    }
