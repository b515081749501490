"""The indices: their names by month, their templates, and new fields for those that exist."""

import logging
import re
from datetime import UTC, datetime
from typing import Any

from elasticsearch import AsyncElasticsearch, BadRequestError, NotFoundError

from schemas.mappings import PROPERTIES, index_templates
from stream.elastic_errors import Failure, expected_to_answer

Properties = dict[str, Any]

logger = logging.getLogger(__name__)


def month_of(index: str, prefix: str, base: str) -> datetime | None:
    """The first instant of the month whose events an index holds, in UTC; None for an index that
    is not of this base in this namespace. `ns-alerts-2026.11` is none of the default namespace."""
    match = re.fullmatch(rf"{re.escape(prefix + base)}-(\d{{4}})\.(0[1-9]|1[0-2])", index)
    return datetime(int(match[1]), int(match[2]), 1, tzinfo=UTC) if match else None


async def monthly_indices(
    client: AsyncElasticsearch, prefix: str, base: str, *, closed: bool = False
) -> dict[str, dict[str, Any]]:
    """Name to aliases and mappings of the open indices of one base in one namespace, on demand
    also of the closed ones."""
    found = await client.indices.get(
        index=f"{prefix}{base}-*",
        expand_wildcards=["open", "closed"] if closed else "open",
        allow_no_indices=True,
        filter_path="*.aliases,*.mappings",
    )
    return {name: body for name, body in found.body.items() if month_of(name, prefix, base)}


async def install_templates(client: AsyncElasticsearch, prefix: str, replicas: int = 0) -> None:
    """Put the index templates of a namespace, and bring its existing indices up to date.

    Existing indices only ever gain: fields, and the alias they are read through. A field that is
    there with another type stays as it is and is named in the log. May run any number of times and
    in several processes at once. Raises ServerUnavailable.
    """
    with expected_to_answer(client):
        # Templates first: an index that is made in the meantime is made right.
        for name, body in index_templates(prefix, replicas).items():
            await client.indices.put_index_template(
                name=name,
                index_patterns=body["index_patterns"],
                priority=body["priority"],
                template=body["template"],
                meta=body["_meta"],
            )
        for base, properties in PROPERTIES.items():
            indices = await monthly_indices(client, prefix, base)
            for index, body in indices.items():
                await _bring_up_to_date(client, index, body, f"{prefix}{base}", properties)


async def _bring_up_to_date(
    client: AsyncElasticsearch,
    index: str,
    body: dict[str, Any],
    alias: str,
    wanted: Properties,
) -> None:
    mappings = body.get("mappings", {})
    added, conflicts = additions(wanted, mappings.get("properties", {}))
    for conflict in conflicts:
        logger.warning("index %s: %s; it stays so until the index is pruned", index, conflict)
    try:
        if added or mappings.get("dynamic") != "strict":
            await client.indices.put_mapping(index=index, dynamic="strict", properties=added)
        if alias not in body.get("aliases", {}):
            await client.indices.put_alias(index=index, name=alias)
    except NotFoundError:
        logger.info("index %s was deleted meanwhile", index)
    except BadRequestError as error:
        reason = Failure.of_request(error).reason
        logger.warning("index %s does not take the new fields: %s", index, reason)


def additions(
    wanted: Properties, present: Properties, path: str = ""
) -> tuple[Properties, list[str]]:
    """The properties to add so that `present` has all of `wanted`, and, in words, those that it
    has with another type."""
    added: Properties = {}
    conflicts: list[str] = []
    for name, field in wanted.items():
        there = present.get(name)
        if there is None:
            added[name] = field
        elif _type(there) != _type(field):
            conflicts.append(
                f"field {path}{name} is of type {_type(there)} where {_type(field)} is wanted"
            )
        elif "properties" in field:
            below, others = additions(
                field["properties"], there.get("properties", {}), f"{path}{name}."
            )
            conflicts += others
            if below:
                added[name] = {**field, "properties": below}
        elif field.get("fields", {}).keys() - there.get("fields", {}).keys():
            added[name] = field
    return added, conflicts


def _type(field: Properties) -> str:
    """Elasticsearch leaves the type of objects out."""
    return str(field.get("type", "object"))
