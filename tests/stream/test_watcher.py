"""What the watcher sees of a real registry, and what the supervisor hears of it."""

import logging
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from models.bundle import SHIPPED_BUNDLE, Bundle
from models.registry import Registry
from schemas.errors import ConfigurationError
from stream.champion import model_folder, open_registry
from stream.retry import Patience
from stream.settings import Settings, load_settings
from stream.watcher import Sighting, Watch, Watcher
from tests.models.small_bundle import another_bundle

SHIPPED = Bundle.open(SHIPPED_BUNDLE).version


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path / "home", registry_seconds=0.2)


@pytest.fixture
def registry(settings: Settings) -> Registry:
    return open_registry(settings)


@pytest.fixture
def watcher(settings: Settings) -> Iterator[Watcher]:
    watcher = Watcher(settings, multiprocessing.get_context("spawn"))
    yield watcher
    watcher.stop()


def until(watcher: Watcher, seen: Callable[[Sighting], bool]) -> Sighting:
    deadline = time.monotonic() + 60
    while not seen(watcher.sighting):
        assert time.monotonic() < deadline, watcher.sighting
        watcher.tend()
        time.sleep(0.05)
    return watcher.sighting


def version_of(sighting: Sighting) -> str:
    return sighting.champion.version if sighting.champion else ""


def test_without_a_registry_nothing_runs(watcher: Watcher) -> None:
    for _ in range(3):
        assert not watcher.tend()
    assert not watcher.is_needed
    assert multiprocessing.active_children() == []


def test_the_supervisor_hears_of_champions_also_from_a_new_watcher(
    watcher: Watcher, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.watcher.RESTART_SECONDS", 0.5)
    shipped = registry.register(SHIPPED_BUNDLE)
    assert until(watcher, lambda seen: seen.looked).champion is None
    registry.promote(shipped)
    folder = until(watcher, lambda seen: version_of(seen) == SHIPPED).champion
    assert folder is not None
    assert Bundle.open(folder.folder).version == SHIPPED
    (process,) = multiprocessing.active_children()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    assert not until(watcher, lambda seen: not seen.up).up
    assert version_of(watcher.sighting) == SHIPPED
    until(watcher, lambda seen: seen.up)
    assert version_of(watcher.sighting) == SHIPPED


def test_a_registry_that_was_replaced_is_followed(
    watcher: Watcher,
    settings: Settings,
    registry: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stream.watcher.RESTART_SECONDS", 0.5)
    registry.promote(registry.register(SHIPPED_BUNDLE))
    until(watcher, lambda seen: version_of(seen) == SHIPPED)
    there = load_settings(home=tmp_path / "there")
    anew = open_registry(there)
    other = anew.register(another_bundle(SHIPPED_BUNDLE, tmp_path / "other", 1))
    anew.promote(other)
    database = settings.home / "registry.db"
    (there.home / "registry.db").rename(database)
    until(watcher, lambda seen: version_of(seen) == other.name)
    database.unlink()
    assert version_of(until(watcher, lambda seen: not seen.up)) == other.name
    assert "is gone or empty" in told(settings)
    assert not database.exists()


def told(settings: Settings) -> str:
    """What a command says, which opens the store anew."""
    with pytest.raises(ConfigurationError) as caught:
        open_registry(settings).versions()
    return str(caught.value)


def test_a_lost_file_of_the_registry_is_no_leave_to_serve_another_model(
    settings: Settings, registry: Registry
) -> None:
    """A worker waits at its start; a file without anything in it is none."""
    registry.promote(registry.register(SHIPPED_BUNDLE))
    database = settings.home / "registry.db"
    database.unlink()
    for is_empty in (False, True):
        if is_empty:
            database.touch()
        watcher = Watcher(settings, multiprocessing.get_context("spawn"))
        try:
            until(watcher, lambda seen: not seen.up)
            assert watcher.is_needed
            assert not watcher.sighting.looked
            assert watcher.sighting.champion is None
        finally:
            watcher.stop()
        assert "is gone or empty" in told(settings)
    assert database.stat().st_size == 0


def test_damaged_files_are_refused_in_one_line_and_tried_again(
    settings: Settings, registry: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = registry.register(another_bundle(SHIPPED_BUNDLE, tmp_path / "other", 1))
    (graph,) = settings.registered_files.rglob("stage-1.onnx")
    whole = graph.read_bytes()
    graph.write_bytes(whole[:-1])
    watch = Watch(registry, settings.fetched_models)
    watch._patience = Patience(first_seconds=0.5)
    assert watch.look().champion is None
    registry.promote(other)
    refused = watch.look()
    assert (refused.champion, refused.refused) == (None, 1)
    assert "stage-1.onnx" in refused.complaint
    assert watch.look() == refused  # its pause is not over
    time.sleep(0.6)
    assert watch.look().refused == 2
    assert len([r for r in caplog.records if r.levelno == logging.ERROR]) == 1
    registry.rollback()  # at once, since the alias has moved
    assert version_of(watch.look()) == SHIPPED
    graph.write_bytes(whole)
    registry.rollback()
    time.sleep(1.1)
    mended = watch.look()
    assert (version_of(mended), mended.complaint) == (other.name, "")


def test_a_registry_that_goes_away_and_comes_back_is_told_once(
    settings: Settings, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    registry.promote(registry.register(SHIPPED_BUNDLE))
    watch = Watch(registry, settings.fetched_models)
    assert watch.look().up
    database = settings.home / "registry.db"
    content = database.read_bytes()
    database.write_bytes(b"gone" * (len(content) // 4))
    with caplog.at_level(logging.INFO, "stream.watcher"):
        assert not watch.look().up
        assert not watch.look().up
        assert version_of(watch.sighting) == SHIPPED
        database.write_bytes(content)
        assert watch.look().up
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith("the registry cannot be used; the model stays: Cannot use")
    assert second == "the registry answers again"


def test_the_settings_say_which_bundle(
    settings: Settings, registry: Registry, tmp_path: Path
) -> None:
    assert model_folder(settings) is None
    assert not settings.home.exists()
    own = settings.model_copy(update={"model": tmp_path})
    registry.promote(registry.register(SHIPPED_BUNDLE))
    place = settings.fetched_models / SHIPPED
    assert model_folder(settings) == place
    assert model_folder(settings.model_copy(update={"model": Path("champion")})) == place
    assert model_folder(own) == tmp_path
    shutil.rmtree(place)
    assert model_folder(settings) == place
