"""Clients of the three servers, made from the settings in one place."""

import ssl
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiokafka.client
from aiokafka.helpers import create_ssl_context
from aiokafka.protocol.metadata import MetadataRequest
from pydantic import SecretStr
from redis.asyncio import Redis

from schemas.errors import ConfigurationError
from stream.settings import Settings

if TYPE_CHECKING:
    from elasticsearch import AsyncElasticsearch

REQUEST_TIMEOUT_SECONDS = 30
REDIS_TIMEOUT_SECONDS = 10

# Where brokers make topics on demand, a client that asks for a topic that somebody has deleted
# would bring it back at once, with one partition and the brokers' settings.
aiokafka.client.MetadataRequest = partial(MetadataRequest, allow_auto_topic_creation=False)


def secret(value: SecretStr | None) -> str | None:
    """The text of a secret setting, where it is given."""
    return value.get_secret_value() if value else None


def _existing(file: Path | None, setting: str) -> str | None:
    if file is not None and not file.is_file():
        raise ConfigurationError(f"BELLWETHER_{setting}: there is no file {file}")
    return str(file) if file else None


def kafka_ssl_context(settings: Settings) -> ssl.SSLContext | None:
    """The TLS context for the brokers, or None where the protocol has no TLS."""
    if not settings.kafka_security_protocol.endswith("SSL"):
        return None
    context: ssl.SSLContext = create_ssl_context(
        cafile=_existing(settings.kafka_ca_file, "KAFKA_CA_FILE"),
        certfile=_existing(settings.kafka_cert_file, "KAFKA_CERT_FILE"),
        keyfile=_existing(settings.kafka_key_file, "KAFKA_KEY_FILE"),
    )
    return context


def uses_sasl(settings: Settings) -> bool:
    """Whether the brokers ask for a user and a password."""
    return settings.kafka_security_protocol.startswith("SASL")


def kafka_options(settings: Settings) -> dict[str, Any]:
    """Keyword arguments that every aiokafka client takes to reach the brokers."""
    options: dict[str, Any] = {
        "bootstrap_servers": settings.kafka.split(","),
        "security_protocol": settings.kafka_security_protocol,
        "ssl_context": kafka_ssl_context(settings),
    }
    if uses_sasl(settings):
        options |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": settings.kafka_user,
            "sasl_plain_password": secret(settings.kafka_password),
        }
    return options


def consumer_options(settings: Settings) -> dict[str, Any]:
    """The same for a consumer that leaves no trace: it reads what is committed, from the start."""
    return kafka_options(settings) | {
        "isolation_level": "read_committed",
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
    }


def make_redis(settings: Settings, timeout_seconds: float = REDIS_TIMEOUT_SECONDS) -> Redis:
    """An asyncio client of Redis; errors are raised at the first call, not here."""
    url = settings.redis.get_secret_value()
    options: dict[str, Any] = {}
    if urlsplit(url).scheme == "rediss" and settings.redis_ca_file:
        options["ssl_ca_certs"] = _existing(settings.redis_ca_file, "REDIS_CA_FILE")
    try:
        return Redis.from_url(
            url,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            **options,
        )
    except ValueError:
        raise ConfigurationError(
            "BELLWETHER_REDIS: expected a URL such as redis://HOST:PORT/0 or rediss://…"
        ) from None


def make_elasticsearch(settings: Settings) -> "AsyncElasticsearch":
    """An asyncio client of Elasticsearch that leaves retries to its caller."""
    # Its import takes a second, which commands that do not need it should not wait for.
    from elasticsearch import AsyncElasticsearch

    options: dict[str, Any] = {}
    if settings.elasticsearch_ca_file:
        options["ca_certs"] = _existing(settings.elasticsearch_ca_file, "ELASTICSEARCH_CA_FILE")
    if settings.elasticsearch_api_key:
        options["api_key"] = secret(settings.elasticsearch_api_key)
    elif settings.elasticsearch_user:
        password = secret(settings.elasticsearch_password) or ""
        options["basic_auth"] = (settings.elasticsearch_user, password)
    return AsyncElasticsearch(
        settings.elasticsearch.split(","),
        request_timeout=REQUEST_TIMEOUT_SECONDS,
        max_retries=0,
        retry_on_timeout=False,
        **options,
    )
