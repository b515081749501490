from pathlib import Path

import pytest

from schemas.errors import ConfigurationError
from stream.clients import kafka_ssl_context, make_redis
from stream.settings import Settings, load_settings

README = Path(__file__).resolve().parents[2] / "README.md"


def test_servers_env_counts_where_a_setting_is_not_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "servers.env").write_text(
        "BELLWETHER_KAFKA=127.0.0.1:19092\nBELLWETHER_REDIS=redis://127.0.0.1:16379/0\n"
    )
    monkeypatch.setenv("BELLWETHER_HOME", str(tmp_path))
    monkeypatch.setenv("BELLWETHER_KAFKA", "broker:9092")
    settings = load_settings()
    assert settings.kafka == "broker:9092"
    assert settings.redis.get_secret_value() == "redis://127.0.0.1:16379/0"
    assert settings.elasticsearch == "http://127.0.0.1:9200"


def test_an_empty_variable_counts_as_unset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BELLWETHER_MODEL", "")
    monkeypatch.setenv("BELLWETHER_TRAINER_LABELS", "")
    settings = load_settings(home=tmp_path)
    assert (settings.model, settings.trainer_labels) == (None, 20)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("namespace", "Upper_Case", "BELLWETHER_NAMESPACE: expected 1 to 30 of a-z"),
        ("namespace", "a" * 31, "BELLWETHER_NAMESPACE"),
        ("web_port", 70_000, "BELLWETHER_WEB_PORT"),
        ("kafka", "broker", "BELLWETHER_KAFKA: expected host:port"),
        ("kafka", "broker:9092,", "BELLWETHER_KAFKA: expected host:port"),
        ("kafka", "broker:99999", "BELLWETHER_KAFKA: expected host:port"),
        ("kafka", "SSL://broker:9092", "set BELLWETHER_KAFKA_SECURITY_PROTOCOL=SSL"),
        ("kafka", "a:9092,sasl_ssl://b:9093", "set BELLWETHER_KAFKA_SECURITY_PROTOCOL=SASL_SSL"),
        ("kafka", "http://broker:9092", "begins with a protocol"),
        ("elasticsearch", "127.0.0.1:9200", "BELLWETHER_ELASTICSEARCH: expected URLs with ports"),
        ("elasticsearch", "http://a:9200,b:9200", "expected URLs with ports"),
        ("elasticsearch", "http://a", "expected URLs with ports"),
        ("elasticsearch", "http://a :9200", "expected URLs with ports"),
        ("kafka", "broker :9092", "BELLWETHER_KAFKA: expected host:port"),
        ("elasticsearch", "http://a:9200,", "expected URLs with ports"),
        ("trainer_hours", "inf", "BELLWETHER_TRAINER_HOURS: Input should be a finite number"),
        ("linger_seconds", "nan", "BELLWETHER_LINGER_SECONDS: Input should be a finite number"),
        ("drain_seconds", 1e6, "BELLWETHER_DRAIN_SECONDS: Input should be less than or equal to"),
        ("kafka_security_protocol", "TLS", "BELLWETHER_KAFKA_SECURITY_PROTOCOL"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, name: str, value: object, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        load_settings(home=tmp_path, **{name: value})


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("a:9092, b:9093", "a:9092,b:9093"),
        (" a:9092\t,\nb:9093 ", "a:9092,b:9093"),
        ("PLAINTEXT://a:9092,plaintext://b:9093", "a:9092,b:9093"),
        ("[::1]:9092, PLAINTEXT://[::1]:9093", "[::1]:9092,[::1]:9093"),
    ],
)
def test_brokers_are_read_as_people_write_them(tmp_path: Path, given: str, read: str) -> None:
    settings = load_settings(home=tmp_path, kafka=given)
    assert settings.kafka == read


def test_a_protocol_before_a_broker_is_the_one_that_is_set(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, kafka="SSL://a:9093", kafka_security_protocol="SSL")
    assert settings.kafka == "a:9093"


def test_urls_of_elasticsearch_may_have_spaces_between(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, elasticsearch=" http://a:9200 ,\thttps://b:9243/path")
    assert settings.elasticsearch == "http://a:9200,https://b:9243/path"


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    settings = load_settings(
        home=tmp_path, kafka_password="hush", redis="redis://:hush@127.0.0.1:6379/0"
    )
    assert "hush" not in repr(settings)
    assert "hush" not in str(settings.model_dump())


def test_a_namespace_stands_before_every_name(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, namespace="desk-1")
    assert settings.topic("financial-news") == "desk-1-financial-news"
    assert (settings.prefix, settings.group) == ("desk-1-", "desk-1-bellwether")
    assert load_settings(home=tmp_path, namespace="").group == "bellwether"


def test_a_missing_certificate_is_named(tmp_path: Path) -> None:
    settings = load_settings(
        home=tmp_path, kafka_security_protocol="SSL", kafka_ca_file=tmp_path / "ca.pem"
    )
    with pytest.raises(ConfigurationError, match="BELLWETHER_KAFKA_CA_FILE: there is no file"):
        kafka_ssl_context(settings)


def test_a_url_of_the_wrong_form_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="BELLWETHER_REDIS"):
        make_redis(load_settings(home=tmp_path, redis="127.0.0.1:6379"))


def test_every_setting_has_its_line_in_the_readme() -> None:
    text = README.read_text(encoding="utf-8")
    for name, field in Settings.model_fields.items():
        assert f"| `{name.upper()}` |" in text, name
        assert str(field.description) in text, name
