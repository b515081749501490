"""Where to look: commands to paste, made for the namespace of a demo."""

import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

from schemas.records import Kind
from stream.redis_session import redis_address
from stream.settings import Settings

OWN_HEADLINE = "Northgate Savings files for bankruptcy after run on deposits, shares halted"


def where_to_look(settings: Settings, home: Path, *, listening: bool) -> Iterable[str]:
    """Lines to print; `listening` says that the worker goes on."""
    prefix, search = settings.prefix, _search(settings)
    redis = _redis(settings)
    news, messages = (f"{prefix}{kind.stream}" for kind in Kind)
    yield f"Kafka           {settings.kafka}, topics {prefix}…"
    yield f"Redis           {redis_address(settings)}, keys {prefix}bellwether:…"
    yield f"Elasticsearch   {settings.elasticsearch}, indices {prefix}…"
    yield ""
    yield "# the gravest news, the angriest customers, the latest alert"
    yield f"{search}/{news}/_search?q=sentiment.label:negative&sort=risk:desc&size=3&pretty'"
    yield f"{search}/{messages}/_search?q=emotion.label:anger&sort=risk:desc&size=3&pretty'"
    yield f"{redis} XREVRANGE {prefix}bellwether:alerts + - COUNT 1"
    yield ""
    bellwether = command()
    yield from _environment(settings, home)
    yield f"{bellwether} alerts list"
    yield f"{bellwether} dead-letters list"
    yield f"{bellwether} doctor"
    if listening:
        yield "# an event of your own; its alert appears here"
        event = shlex.quote(f'{{"headline": "{OWN_HEADLINE}"}}')
        yield f"echo {event} | {bellwether} replay - --topic {Kind.NEWS.stream}"


def leftovers(namespace: str) -> Iterable[str]:
    """How to get rid of what the demo leaves."""
    python = _relative(Path(sys.executable))
    yield f"What the demo made stays in namespace {namespace}; to remove it:"
    yield f"  {python} -m ops.demo --remove {namespace}"


def command() -> str:
    """`bellwether`, as one types it here."""
    script = Path(sys.executable).with_name("bellwether")
    return _relative(script) if script.exists() else f"{_relative(Path(sys.executable))} -m stream"


def _environment(settings: Settings, home: Path) -> Iterable[str]:
    """What the next commands need; what the shell has exported already need not be said."""
    variables = {"BELLWETHER_NAMESPACE": settings.namespace}
    if home != Path(".bellwether").resolve():
        variables["BELLWETHER_HOME"] = _relative(home)
    yield "export " + " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())


def _relative(path: Path) -> str:
    """Short where it is below the current folder. The last part is kept, even if it is a link."""
    folder = Path.cwd()
    absolute = path.parent.resolve() / path.name
    return str(absolute.relative_to(folder) if absolute.is_relative_to(folder) else absolute)


def _search(settings: Settings) -> str:
    """The beginning of a query by curl; secrets stay in the variables that hold them."""
    options = ""
    if settings.elasticsearch_ca_file:
        options += f" --cacert {shlex.quote(str(settings.elasticsearch_ca_file))}"
    if settings.elasticsearch_api_key:
        options += ' -H "Authorization: ApiKey $BELLWETHER_ELASTICSEARCH_API_KEY"'
    elif settings.elasticsearch_user:
        user = shlex.quote(settings.elasticsearch_user)
        options += f' -u {user}:"$BELLWETHER_ELASTICSEARCH_PASSWORD"'
    return f"curl -s{options} '{settings.elasticsearch.split(',')[0].rstrip('/')}"


def _redis(settings: Settings) -> str:
    """The beginning of a redis-cli command; a password stays in its variable."""
    url = settings.redis.get_secret_value()
    return (
        f"redis-cli -u {shlex.quote(url)}" if "@" not in url else 'redis-cli -u "$BELLWETHER_REDIS"'
    )
