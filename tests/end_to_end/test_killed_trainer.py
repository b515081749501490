"""kill -9 of the trainer in training, in logging and in promotion: the next run goes on."""

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from models.bundle import MANIFEST, SHIPPED_BUNDLE, Bundle
from models.classifier import Classifier
from models.versions import CANDIDATE, CHAMPION, PREVIOUS
from schemas.labels import LabelRecord
from stream.champion import open_registry
from stream.classifiers import load_classifier
from stream.settings import Settings, load_settings
from stream.topics import initialise
from tests.end_to_end.harness import bellwether, environment, put_labels
from tests.servers import Servers

SHIPPED = Bundle.open(SHIPPED_BUNDLE)
CONCEPT = Path(__file__).with_name("concepts") / "prosecutions.jsonl"
ANNOTATORS = ("ann", "bob", "cem")
RUN_SECONDS = 180.0
# Runs the command line, and is killed as it comes to write an alias.
KILLED = """
import os, signal, sys
from models.registry import Registry

write, place = Registry.set_alias, sys.argv.pop(1)

def set_alias(self, alias, version):
    if alias == place:
        os.kill(os.getpid(), signal.SIGKILL)
    write(self, alias, version)

Registry.set_alias = set_alias
from stream.cli import main
main()
"""


@pytest.fixture
def settings(servers: Servers, namespace: str, tmp_path: Path) -> Settings:
    """Sixty labels wait that teach something."""
    settings = load_settings(
        home=tmp_path / "home", namespace=namespace, trainer_threads=2, **servers.settings
    )
    asyncio.run(initialise(settings))
    rows = [json.loads(line) for line in CONCEPT.read_text().splitlines()]
    taught = [row for row in rows if row["part"] == "teach"]
    given = [label(row, annotator) for row in taught for annotator in ANNOTATORS]
    asyncio.run(put_labels(settings, given))
    return settings


def label(row: dict[str, str], annotator: str) -> LabelRecord:
    return LabelRecord(
        task=row["task"],
        event_id=row["text"],
        annotator=annotator,
        stream="financial-news",
        label=row["label"],
        text=row["text"],
        given_at=datetime.now(UTC),
        feedback_id=f"{annotator} on {row['text']}",
    )


class Trainer:
    """`bellwether trainer` as its own process; what it prints is in a file."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self._settings = settings
        self._log = log

    def killed_when(self, is_time: Callable[[], bool], *words: str) -> None:
        """Starts it, and sends -9 as soon as it is time."""
        trainer = self._started("-m", "stream", "trainer", *words)
        try:
            deadline = time.monotonic() + RUN_SECONDS
            while not is_time():
                assert trainer.poll() is None, self.printed()
                assert time.monotonic() < deadline, self.printed()
                time.sleep(0.002)
        finally:
            trainer.kill()
        assert trainer.wait() == -signal.SIGKILL

    def killed_at(self, alias: str) -> None:
        """One run, killed by -9 as it comes to write the alias."""
        trainer = self._started("-c", KILLED, alias, "trainer", "--once")
        assert trainer.wait(RUN_SECONDS) == -signal.SIGKILL, self.printed()

    def printed(self) -> str:
        return self._log.read_text()

    def _started(self, *words: str) -> "subprocess.Popen[bytes]":
        with self._log.open("wb") as output:
            return subprocess.Popen(
                [sys.executable, *words],
                env={"PATH": "", **environment(self._settings)},
                stdout=output,
                stderr=subprocess.STDOUT,
            )


def assert_whole(settings: Settings, champion: str | None) -> None:
    """Every version that the registry names can be had, and workers get this champion."""
    registry = open_registry(settings)
    shutil.rmtree(settings.fetched_models, ignore_errors=True)
    for version in registry.versions():
        Classifier.load(registry.fetch(version, settings.fetched_models), threads=1)
    now = registry.alias(CHAMPION)
    assert (now.name if now else None) == champion
    assert load_classifier(settings, threads=1).version == (champion or SHIPPED.version)


def names(settings: Settings) -> set[str]:
    return {version.name for version in open_registry(settings).versions()}


def name_at(settings: Settings, alias: str) -> str:
    return open_registry(settings).find(alias).name


@pytest.mark.long
def test_a_killed_run_breaks_nothing_and_the_next_goes_on(
    settings: Settings, tmp_path: Path
) -> None:
    trainer = Trainer(settings, tmp_path / "log")
    started = time.monotonic()

    def step(what: str) -> None:
        print(f"{what}: {time.monotonic() - started:.0f} s\n{trainer.printed()}")

    trainer.killed_when(lambda: "texts read" in trainer.printed(), "--once")
    step("in training")
    assert_whole(settings, None)

    trainer.killed_when(lambda: any(settings.registered_files.rglob(MANIFEST)), "--once")
    step("in logging the first of its files")
    assert names(settings) == set()
    assert_whole(settings, None)

    trainer.killed_at(CANDIDATE)
    step("between the version and its alias")
    (candidate,) = names(settings)
    assert_whole(settings, None)

    trainer.killed_at(CHAMPION)
    step("before the champion is written")
    assert name_at(settings, CANDIDATE) == candidate
    assert_whole(settings, None)

    trainer.killed_when(lambda: "promoted" in trainer.printed())
    step("the next run")
    assert f"promoted {candidate}" in trainer.printed()
    assert name_at(settings, PREVIOUS) == SHIPPED.version
    assert_whole(settings, candidate)

    bellwether(settings, "models", "promote", SHIPPED.version)
    trainer.killed_at(PREVIOUS)
    step("after the champion is written")
    assert_whole(settings, candidate)
    assert last_line(settings).startswith("refused: no label teaches the champion anything new")

    bellwether(settings, "models", "rollback")
    assert last_line(settings).startswith(f"refused: people rolled {candidate} back")
    assert_whole(settings, SHIPPED.version)


def last_line(settings: Settings) -> str:
    """What one more run says in the end."""
    return bellwether(settings, "trainer", "--once").stdout.splitlines()[-1]
