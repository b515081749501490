"""`bellwether label` on real servers: typed into a terminal, and from a file."""

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import orjson
import pytest

from schemas.decoding import decode_feedback
from schemas.documents import Write, index_name
from schemas.errors import BellwetherError
from schemas.records import FeedbackRecord
from schemas.taxonomy import load_taxonomy
from stream.classifiers import load_classifier
from stream.clients import make_elasticsearch
from stream.elastic import ElasticSink
from stream.indices import install_templates
from stream.label_pool import Pooled, classified, recent_texts
from stream.label_sender import label_sender
from stream.settings import Settings, load_settings
from tests.end_to_end.harness import environment
from tests.servers import Servers
from tests.stream.kafka_records import create_topics, records

TAXONOMY = load_taxonomy()
PATIENCE_SECONDS = 180  # a model is loaded
PROMPT = "q quit > "
MESSAGES = {
    "m1": "I lost my card on the bus yesterday",
    "m2": "How do I change my PIN?",
    "m3": "What is the exchange rate for Japanese yen?",
}
HEADLINES = {"n1": "Acme lifts its profit forecast", "n2": "Castellan Bank plunges on fraud"}


@pytest.fixture
def settings(servers: Servers, namespace: str, tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path, namespace=namespace, **servers.settings)


async def store(settings: Settings, *, age: timedelta = timedelta(hours=1)) -> None:
    """Documents of both streams, as the worker writes them, but only what labelling reads."""
    at = datetime.now(UTC) - age
    documents = [
        ("customer-messages", {"id": name, "text": text, "sent_at": at.isoformat()})
        for name, text in MESSAGES.items()
    ] + [
        ("financial-news", {"id": name, "headline": text, "published_at": at.isoformat()})
        for name, text in HEADLINES.items()
    ]
    client = make_elasticsearch(settings)
    await install_templates(client, settings.prefix)
    await ElasticSink(client, lambda: None).write(
        [
            Write(index_name(settings.prefix, stream, at), document["id"], document)
            for stream, document in documents
        ]
    )
    await client.indices.refresh(index=f"{settings.prefix}*")
    await client.close()


async def sent(settings: Settings) -> list[FeedbackRecord]:
    """What is on the feedback topic, oldest first; keys are the events."""
    found = await records(settings, "feedback")
    given = [decode_feedback(record.value, datetime.now(UTC)) for record in found]
    assert [record.key for record in found] == [each.event_id.encode() for each in given]
    return sorted(given, key=lambda each: each.given_at)


def command(settings: Settings, *options: str) -> tuple[list[str], Mapping[str, str]]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("BELLWETHER_")}
    screen = {"TERM": "dumb", "COLUMNS": "120"}
    return (
        [sys.executable, "-m", "stream", "label", *options],
        inherited | environment(settings) | screen,
    )


class Terminal:
    """A program at a terminal of its own: what it shows, and what is typed."""

    def __init__(self, settings: Settings, *options: str) -> None:
        self._ours, theirs = os.openpty()
        arguments, env = command(settings, *options)
        self._program = subprocess.Popen(
            arguments, stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True
        )
        os.close(theirs)
        self.shown = ""

    def until(self, text: str) -> str:
        """What is shown from now until the text is."""
        found, deadline = "", time.monotonic() + PATIENCE_SECONDS
        while text not in found:
            assert time.monotonic() < deadline, found
            if select.select([self._ours], [], [], 1)[0]:
                piece = self._read()
                assert piece, found
                found += piece
        self.shown += found
        return found

    def _read(self) -> str:
        try:
            return os.read(self._ours, 65_536).decode().replace("\r\n", "\n")
        except OSError:  # the program has ended
            return ""

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def interrupt(self) -> None:
        """Ctrl-C, as the terminal passes it on."""
        self._program.send_signal(signal.SIGINT)

    def ended(self) -> int:
        """The exit code; `shown` has the rest."""
        while piece := self._read():
            self.shown += piece
        return self._program.wait(PATIENCE_SECONDS)

    def close(self) -> None:
        if self._program.poll() is None:
            self._program.kill()
            self._program.wait()
        os.close(self._ours)


@contextmanager
def terminal(settings: Settings, *options: str) -> Iterator[Terminal]:
    opened = Terminal(settings, *options)
    try:
        yield opened
    finally:
        opened.close()


def label(
    settings: Settings, *options: str, given: bytes = b""
) -> "subprocess.CompletedProcess[str]":
    """The command without a terminal."""
    arguments, env = command(settings, *options)
    return subprocess.run(
        arguments,
        env=env,
        input=given.decode(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def event_of(shown: str) -> str:
    """Which of the texts a page shows."""
    (found,) = [name for name, text in (MESSAGES | HEADLINES).items() if text in shown]
    return found


# In a terminal


async def test_labels_are_typed(settings: Settings) -> None:
    await create_topics(settings, "feedback")
    await store(settings)
    options = ("--task", "message.intent", "--annotator", "ana", "--audit-share", "0")
    with terminal(settings, *options) as typing:
        first = typing.until(PROMPT)
        likeliest = re.search(r"^ +1  (\w+) ", first, re.MULTILINE)
        assert likeliest
        typing.type("\n")  # no answer
        assert likeliest[1] in typing.until(PROMPT)
        typing.type("1\n")
        second = typing.until(PROMPT)
        typing.type("99\n")
        assert "99 is none of 1 to 5." in typing.until(PROMPT)
        typing.type("?\n")
        assert " 78  " in typing.until(PROMPT)
        typing.type("stolen lost\n")
        assert "  1  lost_or_stolen_card" in typing.until(PROMPT)
        typing.type("1\n")
        third = typing.until(PROMPT)
        typing.type("u\n")
        assert event_of(typing.until(PROMPT)) == event_of(second)
        typing.type("s\n")
        assert event_of(typing.until(PROMPT)) == event_of(third)
        typing.type("q\n")
        assert typing.ended() == 0
        assert "1 labelled, 1 skipped, 1 taken back" in typing.shown
    assert {event_of(shown) for shown in (first, second, third)} == MESSAGES.keys()

    given = await sent(settings)
    assert [(each.event_id, each.label) for each in given] == [
        (event_of(first), likeliest[1]),
        (event_of(second), "lost_or_stolen_card"),
        (event_of(second), None),
    ]
    assert len({each.id for each in given}) == 3
    assert {(e.stream, e.task, e.annotator, e.selection) for e in given} == {
        ("customer-messages", "message.intent", "ana", "active")
    }

    # What she labelled is not asked again; what she took back is, and others are asked everything.
    week = datetime.now(UTC) - timedelta(days=7)
    task, random = TAXONOMY.tasks["message.intent"], Random(0)
    again = await recent_texts(settings, task, "ana", week, random)
    assert {each.event_id for each in again} == MESSAGES.keys() - {event_of(first)}
    others = await recent_texts(settings, task, "bo", week, random)
    assert {each.event_id for each in others} == MESSAGES.keys()
    minutes = datetime.now(UTC) - timedelta(minutes=5)
    assert await recent_texts(settings, task, "bo", minutes, random) == []


async def test_an_audit_does_not_show_the_answer(settings: Settings) -> None:
    await create_topics(settings, "feedback")
    await store(settings)
    options = ("--stream", "financial-news", "--audit-share", "1", "--count", "1")
    with terminal(settings, *options) as typing:
        assert "audit" in typing.until(PROMPT)
        labels = TAXONOMY.tasks["news.sentiment"].labels
        typing.type(f"{labels.index('neutral') + 1}\n")
        assert typing.ended() == 0
        assert "%" not in typing.shown
        assert re.search(r"1 labelled, .*audits: the model is right in [01] of 1", typing.shown)
    (given,) = await sent(settings)
    assert (given.label, given.selection, given.task) == ("neutral", "audit", "news.sentiment")
    assert given.annotator


async def test_ctrl_c_keeps_what_was_labelled(settings: Settings) -> None:
    await create_topics(settings, "feedback")
    await store(settings)
    with terminal(settings, "--task", "news.topic", "--annotator", "ana") as typing:
        typing.until(PROMPT)
        typing.type("macro\n")
        typing.until(PROMPT)
        typing.interrupt()
        assert typing.ended() == 130
        assert "1 labelled" in typing.shown
        assert "Traceback" not in typing.shown
    assert [each.label for each in await sent(settings)] == ["macro"]


async def test_where_there_is_nothing_to_label(settings: Settings) -> None:
    await create_topics(settings, "feedback")
    with terminal(settings, "--annotator", "ana") as typing:
        assert typing.ended() == 0
        assert "There is nothing to label" in typing.shown
        assert "news.sentiment by ana" in " ".join(typing.shown.split())


def test_a_foreign_text_is_known_as_such(tmp_path: Path) -> None:
    pool = [Pooled("n1", HEADLINES["n1"], None), Pooled("n2", HEADLINES["n2"], "de")]
    classifier = load_classifier(load_settings(home=tmp_path))
    candidates = classified(classifier, pool, TAXONOMY.tasks["news.topic"])
    assert [(one.event_id, one.foreign) for one in candidates] == [("n1", False), ("n2", True)]


async def test_without_the_topic(settings: Settings) -> None:
    with pytest.raises(
        BellwetherError, match=r"there is no topic .*feedback: run `bellwether init`"
    ):
        async with label_sender(settings):
            pass


def test_wrong_usage_and_servers_that_are_away(tmp_path: Path) -> None:
    away = load_settings(home=tmp_path, kafka="127.0.0.1:1", elasticsearch="http://127.0.0.1:1")
    no_terminal = label(away)
    assert (no_terminal.returncode, no_terminal.stdout) == (2, "")
    assert "in a terminal; --from sends a file" in no_terminal.stderr
    assert label(away, "--task", "news.mood").returncode == 2
    assert label(away, "--audit-share", "1.5").returncode == 2
    assert label(away, "--annotator", "a" * 257).returncode == 2
    assert label(away, "--from", str(tmp_path / "none")).returncode == 2
    file = tmp_path / "labels.jsonl"
    file.write_bytes(b"")
    unserved = label(away, "--from", str(file))
    assert unserved.returncode == 1
    assert "Kafka at 127.0.0.1:1 does not serve us" in unserved.stderr
    with terminal(away) as typing:
        assert typing.ended() == 1
        assert "does not serve us" in typing.shown


# From a file


def line(**changes: object) -> bytes:
    fields = {"event_id": "e1", "stream": "financial-news", "task": "news.topic", "label": "macro"}
    return orjson.dumps(fields | changes)


async def test_a_file_is_sent_and_what_is_wrong_is_named(
    settings: Settings, tmp_path: Path
) -> None:
    await create_topics(settings, "feedback")
    file = tmp_path / "labels.jsonl"
    company = {
        "task": "news.sentiment",
        "label": "negative",
        "entity": "Acme",
        "text": "Acme falls",
    }
    messages = {"stream": "customer-messages", "task": "message.intent"}
    lines = [
        line(),
        line(event_id="e2", label=None),
        line(event_id="e3", **company),
        line(event_id="e4", annotator="bo", selection="audit"),
        line(label="football"),
        line(task="news.mood"),
        line(stream="customer-messages"),
        line(event_id=""),
        b'{"event_id": "e5"',
        b"[1]",
        line(**messages, label="lost_or_stole_card"),
    ]
    file.write_bytes(b"\n".join(lines))

    done = label(settings, "--from", str(file), "--annotator", "desk")

    assert done.returncode == 1
    assert "4 labels confirmed, 7 lines refused" in done.stdout
    assert "line 5: label: none of news.topic, expected one of" in done.stdout
    assert "line 9: not JSON" in done.stdout
    assert "no labels, and not sent: 7 lines" in done.stderr
    (intent,) = [each for each in done.stdout.splitlines() if each.startswith("line 11: ")]
    assert "of its 78 labels, of which the nearest are lost_or_stolen_card, " in intent
    assert "`bellwether label --task message.intent` lists all when you type ?" in intent
    given = {each.event_id: each for each in await sent(settings)}
    assert {name: (e.label, e.annotator, e.selection) for name, e in given.items()} == {
        "e1": ("macro", "desk", None),
        "e2": (None, "desk", None),
        "e3": ("negative", "desk", None),
        "e4": ("macro", "bo", "audit"),
    }
    assert (given["e3"].entity, given["e3"].text) == ("Acme", "Acme falls")


async def test_a_file_sent_twice_has_the_same_ids(settings: Settings) -> None:
    await create_topics(settings, "feedback")
    text = orjson.dumps({"event_id": "m1", "label": "change_pin"})
    defaults = ("--task", "message.intent", "--stream", "customer-messages")
    for name in ("ana", "ana", "bo"):
        done = label(settings, "--from", "-", *defaults, "--annotator", name, given=text)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
    ids = [each.id for each in await sent(settings)]
    assert ids[0] == ids[1] != ids[2]
