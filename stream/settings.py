"""Every setting of the service, read once at the top and passed down as a value.

A setting comes from, in this order: an environment variable with the prefix ``BELLWETHER_``,
the file ``servers.env`` that ``make up`` writes into ``BELLWETHER_HOME``, the default below.
This is the only module that reads the environment.
"""

import os
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from models.tracking import sqlite_uri
from schemas.errors import ConfigurationError

PREFIX = "BELLWETHER_"
DAY = 86_400
NAMESPACE = re.compile(r"[a-z0-9-]{0,30}")


class Settings(BaseSettings):
    """The settings; the README's table lists each with its default."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        allow_inf_nan=False,
    )

    home: Path = Field(
        Path(".bellwether"), description="Folder of the local servers' data, logs and addresses"
    )
    namespace: str = Field(
        "", description="Prefix of topics, group, indices and Redis keys: `[a-z0-9-]{1,30}`"
    )

    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How to speak to the brokers"
    )
    kafka: str = Field("127.0.0.1:9092", description="Brokers, `host:port`, joined by commas")
    kafka_ca_file: Path | None = Field(None, description="CA that signed the brokers' certificate")
    kafka_cert_file: Path | None = Field(None, description="Client certificate (mutual TLS)")
    kafka_key_file: Path | None = Field(None, description="Key of the client certificate")
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "PLAIN", description="SASL mechanism"
    )
    kafka_user: str | None = Field(None, description="SASL user")
    kafka_password: SecretStr | None = Field(None, description="SASL password")
    kafka_partitions: int = Field(4, ge=1, description="Partitions of the topics `init` creates")
    kafka_replication: int = Field(1, ge=1, description="Replicas of the topics `init` creates")
    unreadable: Literal["wait", "skip"] = Field(
        "wait",
        description="A batch that Kafka's client cannot unpack: `wait` for it, or `skip` it into "
        "the dead letters",
    )
    retention_days: int = Field(7, ge=7, description="Days that the topics `init` creates keep")

    redis: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="Redis URL; `rediss://` and `:password@` work",
    )
    redis_ca_file: Path | None = Field(None, description="CA that signed Redis' certificate")

    elasticsearch: str = Field(
        "http://127.0.0.1:9200", description="Elasticsearch URLs, joined by commas"
    )
    elasticsearch_api_key: SecretStr | None = Field(None, description="API key")
    elasticsearch_user: str | None = Field(None, description="User, where no API key is given")
    elasticsearch_password: SecretStr | None = Field(None, description="Password of the user")
    elasticsearch_ca_file: Path | None = Field(
        None, description="CA that signed Elasticsearch's certificate"
    )
    elasticsearch_replicas: int = Field(0, ge=0, description="Replicas of the indices")

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where the model runs")
    model: Path | None = Field(
        None,
        description="Bundle folder, or `champion`; default: the registry's champion, else the "
        "shipped bundle",
    )
    threads: int = Field(
        0, ge=0, description="Model threads a process; 0 shares the cores among the processes"
    )

    registry: str = Field(
        "",
        description="MLflow store of models and training runs, a URI; default: SQLite under `HOME`",
    )
    registry_seconds: float = Field(
        2, ge=0.1, le=DAY, description="Pause between two looks at the registry's champion"
    )
    early_exit: bool = Field(
        True, description="Plain texts leave the network early: faster, nearly as often right"
    )
    cached_texts: int = Field(
        16_384, ge=0, description="Answers kept for texts that come again; 0 keeps none"
    )

    training_data: Path | None = Field(
        None,
        description="Folder of labelled sets that the trainer repeats; default: class statistics "
        "and recent events",
    )
    trainer_labels: int = Field(20, ge=1, description="New labels that start a run of the trainer")
    trainer_hours: float = Field(
        24, gt=0, description="Hours after which one new label starts a run"
    )
    trainer_seconds: float = Field(
        60, gt=0, le=DAY, description="Pause between two looks at the labels"
    )
    trainer_threads: int = Field(1, ge=1, description="Threads of the trainer")
    trusted_annotators: str = Field(
        "", description="Annotators whose word needs no second one, joined by commas"
    )
    labels_an_hour: int = Field(
        100, ge=1, description="An annotator who gives more is a flood, and is set aside"
    )

    sources: Path | None = Field(None, description="YAML list of topics and field mappings")
    rules: Path | None = Field(None, description="YAML file of alert rules")
    taxonomy: Path | None = Field(
        None, description="YAML file of tasks and label sets; default: the bundle's"
    )
    risk: Path | None = Field(None, description="YAML file of risk weights")

    web_port: int = Field(
        6066, ge=0, le=65535, description="Loopback port of /live, /ready and /metrics; 0: any"
    )
    alert_max_age_seconds: float = Field(
        3600, gt=0, description="An event older than this at its arrival raises no alert"
    )
    alert_max_symbols: int = Field(
        10, ge=1, description="An event with more symbols is news about none: it raises one alert"
    )
    batch_tokens: int = Field(8192, ge=256, description="Tokens of a full batch")
    batch_records: int = Field(256, ge=1, description="Records of a full batch")
    linger_seconds: float = Field(
        0.005, ge=0, le=DAY, description="Longest wait of a batch for more"
    )
    in_flight_records: int = Field(2000, ge=1, description="Records under way at most")
    in_flight_bytes: int = Field(
        64 * 1024 * 1024, ge=1024 * 1024, description="Bytes of raw values under way at most"
    )
    feedback_wait_seconds: float = Field(
        60,
        ge=0,
        le=DAY,
        description="Longest wait of feedback for an event that is not indexed yet",
    )
    commit_interval_seconds: float = Field(
        0.5, gt=0, le=DAY, description="Pause between offset commits"
    )
    drain_seconds: float = Field(10, ge=0, le=DAY, description="Longest drain after SIGTERM")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least severe log lines shown"
    )

    @field_validator("namespace")
    @classmethod
    def _namespace_fits_every_server(cls, value: str) -> str:
        if not NAMESPACE.fullmatch(value):
            raise ValueError("expected 1 to 30 of a-z, 0-9 and '-'")
        return value

    @field_validator("kafka")
    @classmethod
    def _brokers_have_ports(cls, value: str, given: ValidationInfo) -> str:
        protocol = given.data.get("kafka_security_protocol")
        brokers = []
        for broker in map(str.strip, value.split(",")):
            scheme, _, address = broker.rpartition("://")
            if scheme and scheme.upper() != protocol:
                raise ValueError(
                    "a broker's address begins with a protocol: set "
                    f"{PREFIX}KAFKA_SECURITY_PROTOCOL={scheme.upper()}, or leave it out"
                )
            host, _, port = address.rpartition(":")
            if not (host and not _has_space(host) and port.isdecimal() and 0 < int(port) < 65536):
                raise ValueError("expected host:port, joined by commas, with ports up to 65535")
            brokers.append(address)
        return ",".join(brokers)

    @field_validator("elasticsearch")
    @classmethod
    def _elasticsearch_has_urls(cls, value: str) -> str:
        urls = [url.strip() for url in value.split(",")]
        parts = [urlsplit(url) for url in urls]
        if any(map(_has_space, urls)) or not all(
            part.scheme in ("http", "https") and part.port for part in parts
        ):
            raise ValueError("expected URLs with ports, joined by commas, such as http://HOST:9200")
        return ",".join(urls)

    @property
    def prefix(self) -> str:
        """What stands before each name on a shared server: empty, or the namespace and a dash."""
        return f"{self.namespace}-" if self.namespace else ""

    @property
    def tracking(self) -> str:
        """The URI of the MLflow store."""
        return self.registry or sqlite_uri(self.home.resolve() / "registry.db")

    @property
    def registered_model(self) -> str:
        """The name of the model in the registry."""
        return f"{self.prefix}bellwether"

    @property
    def registered_files(self) -> Path:
        """Where the files of versions stand if the registry is a database and no server."""
        return self.home.resolve() / "registry"

    @property
    def fetched_models(self) -> Path:
        """Bundles fetched from the registry, each a folder named by its version."""
        return self.home.resolve() / "models"

    @property
    def trusted(self) -> tuple[str, ...]:
        """The annotators whose word needs no second one."""
        return tuple(name for part in self.trusted_annotators.split(",") if (name := part.strip()))

    @property
    def group(self) -> str:
        """The consumer group."""
        return f"{self.prefix}bellwether"

    @property
    def faust_folder(self) -> Path:
        """Faust makes this folder and, without tables, writes nothing into it."""
        return self.home / "faust"

    def topic(self, name: str) -> str:
        """The full name of a topic."""
        return f"{self.prefix}{name}"


def _has_space(text: str) -> bool:
    return any(map(str.isspace, text))


def helps_another() -> bool:
    """Whether torchrun started this process beside a first one, which alone tells of the run."""
    return int(os.environ.get("RANK", "0")) > 0


def unknown_variables() -> dict[str, str | None]:
    """The variables with our prefix that are no setting, each with the setting named most alike."""
    known = [name.upper() for name in Settings.model_fields]
    given = {name: name.upper().removeprefix(PREFIX) for name in os.environ}
    strangers = {
        name: bare
        for name, bare in given.items()
        if name.upper().startswith(PREFIX) and bare not in known
    }
    return {
        name: next((PREFIX + near for near in get_close_matches(bare, known, n=1)), None)
        for name, bare in sorted(strangers.items())
    }


def load_settings(**overrides: object) -> Settings:
    """Read the settings; keyword arguments win over the environment.

    Raises ConfigurationError that names the variable and what was expected.
    """
    home = Path(str(overrides.get("home") or os.environ.get(f"{PREFIX}HOME") or ".bellwether"))
    try:
        return Settings(_env_file=home / "servers.env", **overrides)  # type: ignore[call-arg, arg-type]
    except ValidationError as error:
        raise ConfigurationError("; ".join(_plain(error))) from None


def _plain(error: ValidationError) -> list[str]:
    """One sentence a wrong setting; values are left out, since some are secrets."""
    return [
        f"{PREFIX}{str(item['loc'][0]).upper()}: {item['msg'].removeprefix('Value error, ')}"
        for item in error.errors(include_input=False)
    ]
