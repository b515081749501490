"""Events that were indexed last, for the trainer to keep its answers to them as they are."""

from elasticsearch import ApiError, AsyncElasticsearch, TransportError

from models.rehearsal import RecentText
from schemas.documents import text_of
from schemas.errors import ServerUnavailable
from schemas.records import Kind
from stream.clients import make_elasticsearch
from stream.elastic_errors import explain
from stream.settings import Settings

# Of each stream. Elasticsearch gives up to 10,000 at once.
MOST_EVENTS = 5_000
_FIELDS = {Kind.NEWS: ["headline", "body"], Kind.MESSAGE: ["text"]}


async def recent_texts(settings: Settings) -> list[RecentText]:
    """Up to MOST_EVENTS texts of each stream, the newest first.

    Raises ServerUnavailable. Streams that nobody has indexed yet have none.
    """
    client = make_elasticsearch(settings)
    try:
        return [text for kind in Kind for text in await _texts(client, settings, kind)]
    except (ApiError, TransportError) as error:
        raise ServerUnavailable(
            f"Elasticsearch at {settings.elasticsearch} gives no recent events: {explain(error)}"
        ) from error
    finally:
        await client.close()


async def _texts(client: AsyncElasticsearch, settings: Settings, kind: Kind) -> list[RecentText]:
    response = await client.search(
        index=f"{settings.prefix}{kind.stream}",
        source_includes=_FIELDS[kind],
        sort=[{"classified_at": {"order": "desc", "unmapped_type": "date"}}],
        size=MOST_EVENTS,
        ignore_unavailable=True,
    )
    texts = (text_of(hit["_source"], kind) for hit in response["hits"]["hits"])
    return [RecentText(text, kind) for text in texts if text]
