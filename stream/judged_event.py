"""An event as its document has it, and the model that judged it: for `explain --event`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.bundle import SHIPPED_BUNDLE, Bundle
from schemas.documents import text_of
from schemas.errors import BellwetherError, ConfigurationError
from schemas.records import Kind
from stream.champion import model_folder, open_registry
from stream.clients import make_elasticsearch
from stream.elastic_errors import expected_to_answer
from stream.settings import Settings

_STREAMS = {kind.stream: kind for kind in Kind}


@dataclass(frozen=True, slots=True)
class JudgedEvent:
    """What the model read, and which version it was."""

    text: str
    kind: Kind
    language: str | None
    model_version: str


async def judged_event(settings: Settings, named: str) -> JudgedEvent:
    """The event named STREAM/ID, by its document; of an id in two months the later counts.

    Raises ConfigurationError for another form or stream, BellwetherError where there is no such
    event, and ServerUnavailable.
    """
    stream, slash, event_id = named.partition("/")
    if stream not in _STREAMS or not (slash and event_id):
        raise ConfigurationError(
            f"--event: expected STREAM/ID, with the stream {' or '.join(_STREAMS)}"
        )
    source = await _document(settings, stream, event_id)
    kind = _STREAMS[stream]
    text, language = text_of(source, kind), source.get("language")
    return JudgedEvent(text, kind, language, source["model_version"])


async def _document(settings: Settings, stream: str, event_id: str) -> dict[str, Any]:
    client = make_elasticsearch(settings)
    try:
        with expected_to_answer(client):
            found = await client.search(
                index=f"{settings.prefix}{stream}",
                query={"ids": {"values": [event_id]}},
                sort=[{"_index": "desc"}],
                size=1,
                ignore_unavailable=True,
            )
    finally:
        await client.close()
    hits = found["hits"]["hits"]
    if not hits:
        raise BellwetherError(f"there is no event {event_id!r} in {settings.prefix}{stream}")
    source: dict[str, Any] = hits[0]["_source"]
    return source


def folder_of(settings: Settings, version: str) -> Path:
    """The bundle of a version: the one that serves, the shipped one, or one of the registry.

    Raises BellwetherError where it is none of these, and as `model_folder` does.
    """
    for folder in (model_folder(settings) or SHIPPED_BUNDLE, SHIPPED_BUNDLE):
        if Bundle.open(folder).version == version:
            return folder
    registry = open_registry(settings)
    for known in registry.versions():
        if known.name == version:
            return registry.fetch(known, settings.fetched_models)
    raise BellwetherError(
        f"the event was judged by version {version}, which is not at hand: name its folder by "
        "--bundle, or judge the event anew by `bellwether reclassify`"
    )
