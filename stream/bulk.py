"""Bulk requests of commands, which end with an error where the worker would wait."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from elasticsearch import AsyncElasticsearch

from schemas.errors import BellwetherError
from stream.elastic_errors import Failure
from stream.wording import counted

_PAGE = 1_000
_GONE = 404

Item = TypeVar("Item")


async def send_bulk(
    client: AsyncElasticsearch, actions: Iterable[bytes], *, refresh: bool = True
) -> None:
    """Do it all; what is already gone is fine. An action is one line, or two with its document.

    Raises BellwetherError.
    """
    for page in pages(list(actions)):
        response = await client.bulk(
            body=b"".join(page),  # type: ignore[arg-type]
            refresh=refresh,
            filter_path="items.*.status,items.*.error.type,items.*.error.reason",
        )
        failures = _failures(response["items"])
        if failures:
            raise BellwetherError(
                f"Elasticsearch did not change or remove {counted(len(failures), 'document')} "
                f"({failures[0].for_log()}): cure this and repeat the command"
            )


def _failures(items: Iterable[dict[str, Any]]) -> list[Failure]:
    answers = (answer for item in items for answer in item.values())
    failures = (Failure.of_item(answer) for answer in answers)
    return [failure for failure in failures if failure and failure.status != _GONE]


def pages(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """The items by the thousand."""
    return (items[first : first + _PAGE] for first in range(0, len(items), _PAGE))
