"""Bulk requests of commands, which end with an error where the worker would wait."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from elasticsearch import AsyncElasticsearch

from schemas.errors import BellwetherError
from stream.elastic_errors import Failure
from stream.wording import counted

_PAGE = 1_000
_GONE, _CONFLICT = 404, 409

Item = TypeVar("Item")


async def send_bulk(
    client: AsyncElasticsearch,
    actions: Iterable[bytes],
    *,
    refresh: bool = True,
    conditional: bool = False,
) -> list[int]:
    """Do it all; what is already gone is fine. An action is one line, or two with its document.

    Where they are `conditional` on the version of their documents, those whose documents have
    changed are not done; their positions are returned. Raises BellwetherError.
    """
    answers: list[dict[str, Any]] = []
    for page in pages(list(actions)):
        response = await client.bulk(
            body=b"".join(page),  # type: ignore[arg-type]
            refresh=refresh,
            filter_path="items.*.status,items.*.error.type,items.*.error.reason",
        )
        answers += [answer for item in response["items"] for answer in item.values()]
    failures = {i: failure for i, each in enumerate(answers) if (failure := Failure.of_item(each))}
    changed = [i for i, failure in failures.items() if conditional and failure.status == _CONFLICT]
    serious = [f for i, f in failures.items() if f.status != _GONE and i not in changed]
    if serious:
        raise BellwetherError(
            f"Elasticsearch did not change or remove {counted(len(serious), 'document')} "
            f"({serious[0].for_log()}): cure this and repeat the command"
        )
    return changed


def pages(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """The items by the thousand."""
    return (items[first : first + _PAGE] for first in range(0, len(items), _PAGE))
