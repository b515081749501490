import asyncio
import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from aiokafka import AIOKafkaProducer
from redis.asyncio import Redis

from schemas.alerts import Alert
from schemas.dead_letters import DeadLetter
from schemas.errors import Reason, in_words
from stream import cli
from stream.alert_store import AlertStore
from stream.brokers import send
from stream.dead_letter_box import Listing
from stream.display import print_letters
from stream.settings import Settings, load_settings
from tests.servers import Servers
from tests.stream.alert_events import event, judge, match
from tests.stream.kafka_records import create_topics, records

COMMANDS = (
    "worker",
    "init",
    "doctor",
    "classify",
    "replay",
    "train",
    "evaluate",
    "explain",
    "label",
    "prune",
    "forget",
    "dead-letters",
    "alerts",
    "models",
    "reclassify",
)
NEWS = "financial-news"
NO_SERVERS = {
    "BELLWETHER_KAFKA": "127.0.0.1:1",
    "BELLWETHER_REDIS": "redis://127.0.0.1:1/0",
    "BELLWETHER_ELASTICSEARCH": "http://127.0.0.1:1",
}


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


Bellwether = Callable[..., Ended]


@pytest.fixture
def bellwether(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Bellwether]:
    """The command line in this process, at servers that are not there unless a test says so."""
    monkeypatch.setenv("BELLWETHER_HOME", str(tmp_path))
    for name, address in NO_SERVERS.items():
        monkeypatch.setenv(name, address)

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["bellwether", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return Ended(int(ended.value.code or 0), said.out, said.err)

    yield run
    for name in ("aiokafka", "elastic_transport", "elasticsearch", "redis"):
        logging.getLogger(name).propagate = True


@pytest.fixture
def settings(
    servers: Servers, namespace: str, bellwether: Bellwether, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """Kafka and Redis for `bellwether`; Elasticsearch stays away."""
    monkeypatch.setenv("BELLWETHER_KAFKA", servers.kafka.address)
    monkeypatch.setenv("BELLWETHER_REDIS", servers.redis.address)
    monkeypatch.setenv("BELLWETHER_NAMESPACE", namespace)
    return load_settings()


def process(*arguments: str, **variables: str) -> subprocess.Popen[str]:
    """The command line in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "stream", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | variables,
    )


# Help and usage


def test_what_the_system_refuses_is_told_in_one_line(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "stream", "--version"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "bellwether: No space left on device\n")
    with pytest.raises(FileNotFoundError) as caught:
        (tmp_path / "none" / "file").write_text("")
    assert str(in_words(caught.value)) == f"No such file or directory: {tmp_path}/none/file"


def test_help_names_every_command_and_loads_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from stream.cli import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    heavy = {'aiokafka', 'asyncio', 'elasticsearch', 'faust', 'mlflow', 'numpy',\n"
        "             'onnxruntime', 'pydantic', 'redis', 'yaml'} & set(sys.modules)\n"
        "    print('heavy:', sorted(heavy))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "--help"], capture_output=True, text=True, check=True
    )
    for command in COMMANDS:
        assert f"│ {command} " in done.stdout
    assert done.stdout.endswith("heavy: []\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_teaches(bellwether: Bellwether, command: str) -> None:
    said = bellwether(command, "--help")
    assert said.code == 0
    if command in ("dead-letters", "alerts", "models"):
        assert "list" in said.out
        said = bellwether(command, "list", "--help")
    assert f"$ bellwether {command}" in said.out


def test_version(bellwether: Bellwether) -> None:
    assert bellwether("--version").out.startswith("bellwether 0.")


@pytest.mark.parametrize(
    "arguments",
    [
        ("nothing",),
        ("replay",),
        ("replay", "/absent.jsonl", "--topic", NEWS),
        ("replay", "/dev/null", "--topic", NEWS, "--speed", "0"),
        ("replay", "/dev/null", "--topic", NEWS, "--map", "headline"),
        ("replay", "/dev/null", "--topic", NEWS, "--set", "title=x"),
        ("worker", "--processes", "0"),
        ("dead-letters", "replay"),
        ("dead-letters", "replay", "financial-news"),
        ("dead-letters", "list", "--reason", "boredom"),
        ("dead-letters", "list", "--since", "yesterday"),
        ("prune",),
        ("prune", "--older-than", "a year"),
        ("forget",),
        ("reclassify",),
        ("reclassify", "--from", "1h", "--to", "2h"),
        ("reclassify", "--from", "1h", "--stream", "news"),
        ("models", "show"),
        ("models", "promote"),
        ("classify", "/absent.jsonl"),
        ("classify", "/dev/null", "--task", "news.weather"),
        ("classify", "/dev/null", "--kind", "letters"),
        ("train", "--add-task", "urgency", "--kind", "message"),
        ("train", "--add-task", "urgency", "--data", "/dev/null"),
        ("train", "--add-task", "Urgency", "--kind", "message", "--data", "/dev/null"),
        ("train", "--add-task", "a", "--add-label", "b", "--data", "/dev/null"),
        ("train", "--add-label", "news.topic", "--kind", "news", "--data", "/dev/null"),
        ("train", "--add-label", "news.topic", "--recipe", "lora", "--data", "/dev/null"),
        ("train", "--bundle", "/dev/null"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2(bellwether: Bellwether, arguments: tuple[str, ...]) -> None:
    said = bellwether(*arguments)
    assert said.code == 2
    assert said.err
    assert "Traceback" not in said.err


def test_a_wrong_setting_is_2_in_one_line(
    bellwether: Bellwether, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BELLWETHER_NAMESPACE", "Not This")
    for command in (("init",), ("worker",), ("alerts", "list")):
        said = bellwether(*command)
        assert (said.code, said.out) == (2, "")
        assert said.err.startswith("bellwether: BELLWETHER_NAMESPACE: ")
        assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("init",),
        ("replay", "/dev/null", "--topic", NEWS),
        ("dead-letters", "list"),
        ("dead-letters", "replay", "--all"),
        ("alerts", "list"),
        ("alerts", "watch"),
        ("prune", "--older-than", "90d"),
        ("forget", "--customer", "c1", "--yes"),
        ("reclassify", "--from", "1h"),
    ],
    ids=" ".join,
)
def test_servers_that_are_away_are_1_in_one_line(
    bellwether: Bellwether, arguments: tuple[str, ...]
) -> None:
    said = bellwether(*arguments)
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("bellwether: ")
    assert "127.0.0.1:1" in said.err
    assert ". Is it up (`make up`), and " in said.err
    assert ".. " not in said.err
    assert said.err.count("\n") == 1


def test_a_doctor_without_servers_tells_each(bellwether: Bellwether) -> None:
    said = bellwether("doctor", "--json")
    assert (said.code, said.err) == (1, "")
    wrong = {row["part"] for row in json.loads(said.out) if row["level"] == "wrong"}
    assert {"Kafka", "Redis", "Elasticsearch"} <= wrong
    table = bellwether("doctor")
    assert table.code == 1
    assert [line for line in table.out.splitlines() if line.startswith("✗  Kafka  ")]


# On servers


def test_init_and_doctor(servers: Servers, namespace: str) -> None:
    settings = servers.settings
    variables = {
        "BELLWETHER_NAMESPACE": namespace,
        **{f"BELLWETHER_{name.upper()}": address for name, address in settings.items()},
    }
    out, err = process("init", **variables).communicate()
    assert err == ""
    assert f"topic {namespace}-dead-letters: created" in out
    again, _ = process("init", **variables).communicate()
    assert f"topic {namespace}-dead-letters: exists" in again
    examined, err = process("doctor", "--json", **variables).communicate()
    assert err == ""
    levels = {row["level"] for row in json.loads(examined) if row["part"] != "model"}
    assert levels == {"fine", "warning"}  # there is no worker


def test_replay_says_what_it_did(
    settings: Settings, bellwether: Bellwether, tmp_path: Path
) -> None:
    asyncio.run(create_topics(settings, NEWS))
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "Acme"}\n{broken\n')
    said = bellwether("replay", str(path), "--topic", NEWS, "--map", "headline=text")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("2 records confirmed, ")
    path.write_text('{"headline": "Acme", "published_at": "2026-01-05T08:00:00Z"}')
    said = bellwether("replay", str(path), "--topic", NEWS)
    assert (said.code, said.err[:29]) == (0, "1 of the events are older tha")
    path.write_text('{"$repeat": "x", "times": 5000000}')
    said = bellwether("replay", str(path), "--topic", NEWS)
    assert said.code == 1
    assert said.err == "bellwether: too long for the topic: line 1\n"
    said = bellwether("replay", str(path), "--topic", "nowhere")
    assert said.code == 1
    assert "those of the sources: financial-news, customer-messages" in said.err


def test_dead_letters(settings: Settings, bellwether: Bellwether) -> None:
    letters = [letter(settings, number) for number in (1000, 1001, 1002)]
    asyncio.run(_put(settings, letters))
    listed = json.loads(bellwether("dead-letters", "list", "--json").out)
    assert [row["offset"] for row in listed] == [1002, 1001, 1000]
    assert listed[0]["identity"] == f"{settings.topic(NEWS)}/0/1002"
    assert "value" not in listed[0]
    table = bellwether("dead-letters", "list", "--reason", "invalid", "--limit", "2").out
    assert "3 dead letters (3 invalid), 2 shown" in table
    assert "private" not in table
    shown = bellwether("dead-letters", "list", "--show-value").out
    assert "private \\x1b\\xff 1000" in shown
    dry = bellwether("dead-letters", "replay", "--all", "--dry-run").out
    assert dry == "3 would be sent, 0 replayed before, 0 refused\n"
    named = bellwether("dead-letters", "replay", f"{settings.topic(NEWS)}/0/1001")
    assert named.out == "1 sent, 0 replayed before, 0 refused\n"
    rest = bellwether("dead-letters", "replay", "--since", "1h").out
    assert rest == "2 sent, 1 replayed before, 0 refused\n"
    absent = bellwether("dead-letters", "replay", f"{settings.topic(NEWS)}/0/99")
    assert absent.code == 1
    assert f"{settings.topic(NEWS)}/0/99" in absent.err
    assert len(asyncio.run(records(settings, NEWS))) == 3


def test_one_dead_letter_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    listing = Listing([letter(load_settings(), 1000)], Counter({Reason.INVALID: 1}), foreign=1)
    print_letters(listing, show_values=False)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "1 dead letter (1 invalid), 1 shown; not ours: 1 record of the topic"


def letter(settings: Settings, number: int) -> DeadLetter:
    return DeadLetter(
        value=b"private \x1b\xff %d" % number,
        key=None,
        topic=settings.topic(NEWS),
        partition=0,
        offset=number,
        reason=Reason.INVALID,
        message="headline: missing",
        failed_at=datetime.now(UTC) - timedelta(minutes=1010 - number),
    )


async def _put(settings: Settings, letters: list[DeadLetter]) -> None:
    await create_topics(settings, "dead-letters", NEWS)
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka) as producer:
        for one in letters:
            topic = settings.topic("dead-letters")
            await (await send(producer, topic, one.key, one.value, one.headers()))


def test_a_closed_pipe_is_quiet(settings: Settings) -> None:
    letters = [letter(settings, number) for number in range(3000)]
    asyncio.run(_put(settings, letters))
    for form in ("--json", "--show-value"):
        with process("dead-letters", "list", "--limit", "3000", form) as listing:
            assert listing.stdout is not None
            assert listing.stderr is not None
            listing.stdout.readline()
            listing.stdout.close()
            assert listing.stderr.read() == ""


# Alerts


async def _raise(settings: Settings, *names: str) -> None:
    redis = Redis.from_url(settings.redis.get_secret_value())
    store = AlertStore(redis, settings.prefix)
    for name in names:
        hit = match("rule", f"key {name}", reason=f"because of [bold]{name}\x1b")
        await judge(store, event(name, 0, hit))
    await redis.aclose()


def test_alerts_list(settings: Settings, bellwether: Bellwether) -> None:
    assert bellwether("alerts", "list").out == "no alert is active\n"
    assert json.loads(bellwether("alerts", "list", "--json").out) == []
    asyncio.run(_raise(settings, "a", "b"))
    table = bellwether("alerts", "list").out
    assert "because of [bold]a\\x1b" in table
    found = json.loads(bellwether("alerts", "list", "--json").out)
    assert {alert["key"] for alert in found} == {"key a", "key b"}
    assert Alert.model_validate_json(json.dumps(found[0])).status == "firing"


LATIN = {"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
ASCII = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize("locale", [LATIN, ASCII])
def test_alerts_are_printed_in_any_locale(settings: Settings, locale: dict[str, str]) -> None:
    name = "Zürich → 東京…"
    asyncio.run(_raise(settings, name))

    def said(*arguments: str) -> bytes:
        command = [sys.executable, "-m", "stream", "alerts", *arguments]
        done = subprocess.run(command, env=os.environ | locale, capture_output=True, check=True)
        assert done.stderr == b""
        return done.stdout

    table = said("list")
    assert b"-> \\u6771\\u4eac..." in table
    assert (b"Z\xfcrich" if locale is LATIN else b"Z\\xfcrich") in table
    assert json.loads(said("list", "--json").decode("utf-8"))[0]["key"] == f"key {name}"


@pytest.mark.parametrize("locale", [LATIN, ASCII])
def test_alerts_are_watched_in_any_locale(settings: Settings, locale: dict[str, str]) -> None:
    asyncio.run(_raise(settings, "東京"))
    for arguments, shown in (((), b"\\u6771"), (("--json",), "東京".encode())):
        command = [sys.executable, "-m", "stream", "alerts", "watch", "--from-start", *arguments]
        with subprocess.Popen(command, env=os.environ | locale, stdout=subprocess.PIPE) as watching:
            assert watching.stdout is not None
            assert shown in watching.stdout.readline()
            watching.send_signal(signal.SIGINT)


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["doctor"], ["doctor", "--json"], ["replay", "ö…→.jsonl", "--topic", "t"]],
)
def test_every_command_speaks_in_any_locale(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "stream", *arguments]
    done = subprocess.run(command, env=os.environ | NO_SERVERS | ASCII, capture_output=True)
    assert b"Traceback" not in done.stderr
    assert b"UnicodeEncodeError" not in done.stderr
    assert done.stdout or done.stderr


def test_alerts_watch(settings: Settings) -> None:
    asyncio.run(_raise(settings, "a"))
    with process("alerts", "watch", "--json", "--from-start") as watching:
        assert watching.stdout is not None
        assert watching.stderr is not None
        assert json.loads(watching.stdout.readline())["key"] == "key a"
        asyncio.run(_raise(settings, "b"))
        assert json.loads(watching.stdout.readline())["key"] == "key b"
        watching.send_signal(signal.SIGINT)
        ended = watching.communicate(timeout=30)
        assert (watching.returncode, ended) == (130, ("", ""))
    with process("alerts", "watch", "--from-start") as watching:
        assert watching.stdout is not None
        line = watching.stdout.readline()
        assert "because of [bold]a\\x1b (rule, key a)" in line
        assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ ", line)
        watching.send_signal(signal.SIGTERM)


# The model


def test_classify(bellwether: Bellwether, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "Acme cuts its outlook"}\n{"id": "m", "headline": "Oil rises"}\n')
    said = bellwether("classify", str(path), "--task", "news.topic")
    assert (said.code, said.err) == (0, "")
    first, second = map(json.loads, said.out.splitlines())
    assert (first["id"], second["id"]) == (1, "m")
    assert set(first["predictions"]) == {"news.topic"}
    path.write_text('{"text": "ok"}\nbroken\n')
    said = bellwether("classify", str(path))
    assert said.code == 1
    assert "error" in json.loads(said.out.splitlines()[1])
    assert said.err.startswith("bellwether: 1 line could not be classified")


def test_what_only_an_extra_installs_is_asked_for(
    bellwether: Bellwether, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "models.training", None)
    said = bellwether("train")
    assert said.code == 1
    assert "`make install-all`" in said.err


# Removal


def test_nothing_is_removed_unless_somebody_says_yes(
    bellwether: Bellwether, monkeypatch: pytest.MonkeyPatch
) -> None:
    for answer in ("", "n\n", "\n"):
        monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
        said = bellwether("forget", "--customer", "c1")
        assert said.code == 1
        assert "removed" not in said.out


def test_prune_names_and_then_deletes(
    servers: Servers, settings: Settings, bellwether: Bellwether, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = servers.elasticsearch.address
    monkeypatch.setenv("BELLWETHER_ELASTICSEARCH", address)
    name = f"{settings.prefix}alerts-2020.01"
    urlopen(Request(f"{address}/{name}", method="PUT"))
    for _ in range(2):
        said = bellwether("prune", "--older-than", "90d", "--dry-run")
        assert (said.code, said.out) == (0, f"{name}\n")
    assert bellwether("prune", "--older-than", "90d", "--yes").out == f"{name}\n1 deleted\n"
    assert bellwether("prune", "--older-than", "90d").out == "no index is that old\n"


# Files that are not JSON lines


@pytest.mark.parametrize(
    "arguments",
    [
        ("replay", "{file}", "--topic", NEWS),
        ("replay", "{file}", "--topic", NEWS, "--shift-to-now"),
        ("classify", "{file}"),
        ("label", "--from", "{file}", "--annotator", "ana"),
    ],
)
def test_another_format_is_refused_with_what_to_do(
    settings: Settings, bellwether: Bellwether, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    asyncio.run(create_topics(settings, NEWS, "feedback"))
    file = tmp_path / "news.csv"
    file.write_bytes(b"id,headline\n1,Acme rises\n2,Zeta falls\n")
    given = [argument.format(file=file) for argument in arguments]
    said = bellwether(*given)
    assert (said.code, said.out) == (2, "")
    assert "this is CSV, not JSON lines: `mlr --icsv --ojsonl cat FILE` makes lines" in said.err
    assert not asyncio.run(records(settings, NEWS))
    assert "not JSON lines" not in bellwether(*given, "--force").err
