"""Dead letters: records that cannot become documents, kept as they came and with the reason."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from schemas.errors import Reason, RecordRejected
from schemas.times import format_milliseconds, parse_rfc3339

# The topic takes messages of 5 MiB: key, value and headers must fit.
MAX_KEPT_VALUE_BYTES = 4 << 20
MAX_KEPT_KEY_BYTES = 256 << 10
MAX_MESSAGE_CHARACTERS = 1_000

Headers = Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One record that failed. `topic` is the full name, with namespace; `truncated_from` is the
    value's size in bytes before it was cut, or None."""

    value: bytes | None
    key: bytes | None
    topic: str
    partition: int
    offset: int
    reason: Reason
    message: str
    failed_at: datetime
    truncated_from: int | None = None

    @property
    def identity(self) -> tuple[str, int, int]:
        """The origin. The topic may hold copies: readers count identities."""
        return self.topic, self.partition, self.offset

    def fitted(self) -> Self:
        """Cut so that the dead-letters topic takes it."""
        letter = self
        if self.key is not None and len(self.key) > MAX_KEPT_KEY_BYTES:
            letter = replace(letter, key=self.key[:MAX_KEPT_KEY_BYTES])
        if self.value is not None and len(self.value) > MAX_KEPT_VALUE_BYTES:
            kept, size = self.value[:MAX_KEPT_VALUE_BYTES], len(self.value)
            letter = replace(letter, value=kept, truncated_from=size)
        return letter

    def headers(self) -> list[tuple[str, bytes]]:
        """As Kafka carries them: text in UTF-8, numbers in decimal."""
        texts = {
            "origin-topic": self.topic,
            "origin-partition": str(self.partition),
            "origin-offset": str(self.offset),
            "reason": self.reason.value,
            "message": self.message[:MAX_MESSAGE_CHARACTERS],
            "failed-at": format_milliseconds(self.failed_at),
        }
        if self.truncated_from is not None:
            texts["truncated-from"] = str(self.truncated_from)
        return [(name, text.encode(errors="replace")) for name, text in texts.items()]

    @classmethod
    def from_kafka(cls, key: bytes | None, value: bytes | None, headers: Headers) -> Self:
        """What `headers` wrote. Raises RecordRejected if this is not one of our dead letters."""
        try:
            texts = {name: content.decode() for name, content in headers}
            cut = texts.get("truncated-from")
            return cls(
                value=value,
                key=key,
                topic=texts["origin-topic"],
                partition=int(texts["origin-partition"]),
                offset=int(texts["origin-offset"]),
                reason=Reason(texts["reason"]),
                message=texts.get("message", ""),
                failed_at=parse_rfc3339(texts["failed-at"]),
                truncated_from=None if cut is None else int(cut),
            )
        except KeyError as error:
            problem = f"the header {error.args[0]} is missing"
        except (ValueError, AttributeError) as error:
            problem = f"a header cannot be read ({error})"
        raise RecordRejected(Reason.INVALID, f"not a dead letter of this service: {problem}")
