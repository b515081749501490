"""What Elasticsearch says when it does not do as asked, sorted and put into words.

Two questions are answered here: is the document to blame, or the server? And what is a person told,
who must hear neither a secret nor a customer's text?
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from elasticsearch import (
    ApiError,
    AsyncElasticsearch,
    AuthenticationException,
    AuthorizationException,
    ConnectionError,
    ConnectionTimeout,
    SSLError,
    TransportError,
    UnsupportedProductError,
)

from schemas.errors import ServerUnavailable

DOCUMENT_ERRORS = frozenset(
    {
        "document_parsing_exception",
        "illegal_argument_exception",
        "mapper_parsing_exception",
        "strict_dynamic_mapping_exception",
    }
)
# An illegal argument may also be the server's: a pipeline that was deleted, an alias over two
# indices, a shard with as many documents as Lucene can count.
_SERVER_REASONS = (
    "no write index is defined for alias",
    "number of documents in",
    "pipeline with id",
)
# The reasons of these errors hold names and numbers only. Others quote documents.
_HARMLESS_TYPES = frozenset(
    {
        "circuit_breaking_exception",
        "cluster_block_exception",
        "index_closed_exception",
        "index_not_found_exception",
        "security_exception",
        "validation_exception",
    }
)
_QUOTATIONS = re.compile(r"\.?\s*(Preview of field's value|The prefix of the first).*", re.DOTALL)
_PLACE = re.compile(r"^\[-?\d+:-?\d+\] ")
_LONG_BRACKET = re.compile(r"\[([^\]]{40})[^\]]{20,}\]")
_LONGEST_REASON = 300

_BAD_REQUEST = 400
_TOO_LARGE = 413
_REFUSED_WHOLE = (_BAD_REQUEST, _TOO_LARGE)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why Elasticsearch did not do one thing."""

    status: int
    type: str
    reason: str

    @classmethod
    def of_item(cls, answer: dict[str, Any]) -> "Failure | None":
        """From an item of a bulk's answer; None where it was stored."""
        status = int(answer.get("status", 0))
        if 200 <= status < 300:
            return None
        return cls._of(status, answer.get("error"))

    @classmethod
    def of_request(cls, error: ApiError) -> "Failure":
        """From the refusal of a whole request."""
        body = error.body if isinstance(error.body, dict) else {}
        return cls._of(error.meta.status, body.get("error"))

    @classmethod
    def _of(cls, status: int, error: object) -> "Failure":
        told = error if isinstance(error, dict) else {}
        return cls(status, str(told.get("type", "")), str(told.get("reason", "")))

    @property
    def blames_document(self) -> bool:
        """Whether this document would be refused for good, given that its index is there."""
        return (
            self.status == _BAD_REQUEST
            and self.type in DOCUMENT_ERRORS
            and not self.reason.lower().startswith(_SERVER_REASONS)
        )

    def for_dead_letter(self) -> str:
        """One sentence on what is wrong with a document, without the values in it."""
        if self.status == _TOO_LARGE:
            return "the document is larger than Elasticsearch takes in one request (HTTP 413)"
        reason = _without_values(self.reason) or "it gave no reason"
        return f"Elasticsearch refuses the document: {reason} ({self.type or self.status})"

    def for_log(self) -> str:
        """Status and type, and the reason where it can quote no document."""
        what = f"HTTP {self.status} {self.type}".strip()
        return f"{what}: {self.reason}" if self.type in _HARMLESS_TYPES else what


def _without_values(reason: str) -> str:
    """A reason without what it quotes of the document, and of bounded length."""
    bare = _PLACE.sub("", _QUOTATIONS.sub("", reason)).strip()
    short = _LONG_BRACKET.sub(r"[\1…]", bare)
    return short if len(short) <= _LONGEST_REASON else f"{short[:_LONGEST_REASON]}…"


def refuses_whole(error: Exception) -> bool:
    """Whether a request was refused for what is in it, so that a part of it may pass."""
    return isinstance(error, ApiError) and error.meta.status in _REFUSED_WHOLE


def explain(error: ApiError | TransportError) -> str:
    """One clause on what is wrong with the server or with the way to it, and what to check."""
    match error:
        case ConnectionTimeout():
            return "it does not answer in time"
        case SSLError():
            return (
                "the TLS handshake fails: check https:// in BELLWETHER_ELASTICSEARCH and "
                "BELLWETHER_ELASTICSEARCH_CA_FILE"
            )
        case AuthenticationException():
            return (
                "it does not accept our credentials (HTTP 401): check "
                "BELLWETHER_ELASTICSEARCH_API_KEY, or _USER and _PASSWORD"
            )
        case AuthorizationException():
            return f"it does not permit this: {Failure.of_request(error).for_log()}"
        case UnsupportedProductError():
            return "what answers at this address is not Elasticsearch"
        case ApiError():
            return Failure.of_request(error).for_log()
        case _:
            return f"it cannot be reached ({type(error).__name__})"


@contextmanager
def expected_to_answer(client: AsyncElasticsearch) -> Iterator[None]:
    """For commands that cannot wait: an error inside becomes ServerUnavailable in plain words."""
    try:
        yield
    except (ApiError, TransportError) as error:
        addresses = ", ".join(node.base_url for node in client.transport.node_pool.all())
        raise ServerUnavailable(
            f"Elasticsearch at {addresses}: {explain(error)}{_where_to_look(error)}"
        ) from error


def _where_to_look(error: ApiError | TransportError) -> str:
    """Where nothing answers; what else is wrong says itself what to check."""
    if isinstance(error, SSLError) or not isinstance(error, ConnectionError | ConnectionTimeout):
        return ""
    return ". Is it up (`make up`), and is BELLWETHER_ELASTICSEARCH right?"
