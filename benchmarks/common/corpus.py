"""The texts that every contestant gets: short posts on listed companies, each text once."""

import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

from schemas.errors import ConfigurationError
from schemas.records import Kind
from schemas.times import format_milliseconds

SHARED_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
FILE = "stocknet_tweets.jsonl.gz"
MAX_HEADLINE = 2000
CUSTOMERS = 997


@dataclass(frozen=True, slots=True)
class Event:
    """What becomes a record as soon as it is known when it happens."""

    id: str
    kind: Kind
    text: str
    symbol: str | None = None

    def record(self, happened_at: datetime) -> tuple[str, bytes]:
        """Topic (without namespace) and value."""
        value = self._news(happened_at) if self.kind is Kind.NEWS else self._message(happened_at)
        return self.kind.stream, json.dumps(value, ensure_ascii=False).encode()

    def _news(self, happened_at: datetime) -> dict[str, object]:
        return {
            "id": self.id,
            "published_at": format_milliseconds(happened_at),
            "headline": self.text[:MAX_HEADLINE],
            "source": "posts",
            "symbols": [self.symbol] if self.symbol else [],
        }

    def _message(self, happened_at: datetime) -> dict[str, object]:
        return {
            "id": self.id,
            "sent_at": format_milliseconds(happened_at),
            "customer_id": f"customer-{sum(self.id.encode()) % CUSTOMERS}",
            "channel": "social",
            "text": self.text,
        }


@dataclass(frozen=True, slots=True)
class Post:
    """A text and the ticker it is about."""

    text: str
    symbol: str


def posts(data: Path, count: int) -> list[Post]:
    """`count` posts of different texts, in the order of time, spread evenly over the set.

    Raises ConfigurationError when the set is not there or too small.
    """
    found = list({post.text: post for post in _read(data)}.values())
    if len(found) < count:
        raise ConfigurationError(f"{data / FILE} has {len(found)} different texts, not {count}")
    return [found[position * len(found) // count] for position in range(count)]


def stream_of_posts(data: Path, count: int) -> list[Post]:
    """`count` posts that follow each other as they were sent, copies included.

    Raises ConfigurationError when the set is not there.
    """
    return list(islice(_read(data), count))


def _read(data: Path) -> Iterator[Post]:
    file = data / FILE
    if not file.is_file():
        raise ConfigurationError(
            f"there is no {FILE} in {data}: name the folder with the data sets by --data"
        )
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if row["text"].strip():
                yield Post(row["text"], row["ticker"])


def events(posts: Sequence[Post], run: str) -> list[Event]:
    """The posts as news and as customers' messages in turn; `run` makes the ids unique."""
    return [
        Event(f"{run}-{position}", (Kind.NEWS, Kind.MESSAGE)[position % 2], post.text, post.symbol)
        for position, post in enumerate(posts)
    ]
