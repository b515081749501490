"""The registry on a real tracking server of MLflow: hosts share it, and it goes away at times."""

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from threading import Thread

import pytest

from models.bundle import SHIPPED_BUNDLE, Bundle
from models.classifier import Classifier
from models.registry import Registry
from models.tracking import EXPERIMENT, log_report, tracked
from models.versions import CHAMPION, PREVIOUS, Version
from ops.servers.guard import Guard
from schemas.errors import BundleError, ConfigurationError
from stream.champion import open_registry
from stream.settings import Settings, load_settings
from stream.trainer import Champion, Trainer
from stream.watcher import Sighting, Watch
from tests.mlflow_server import Mlflow, Proxy, basic, proxy
from tests.models.small_bundle import another_bundle
from tests.servers import running

SHIPPED = Bundle.open(SHIPPED_BUNDLE).version
CHECKOUT = Path(__file__).parents[2]
TOLD_SECONDS = 10.0

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def server(guard: Guard, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mlflow]:
    server = Mlflow(tmp_path_factory.mktemp("mlflow") / "server")
    with running(guard, server):
        yield server


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without MLflow's pauses between attempts, four seconds in all."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")


@pytest.fixture
def before(server: Mlflow) -> Iterator[Proxy]:
    """A proxy before the server."""
    with proxy(server) as before:
        yield before


@pytest.fixture(scope="module")
def bundles(small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("versions")
    return [another_bundle(small_bundle, folder / str(seed), seed) for seed in (21, 22, 23)]


@pytest.fixture
def settings(server: Mlflow, namespace: str, tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path / "home", namespace=namespace, registry=server.address)


@pytest.fixture
def registry(settings: Settings) -> Registry:
    return open_registry(settings)


def through(before: Proxy, settings: Settings, user: str = "") -> Registry:
    """The same registry, by way of the proxy."""
    uri = before.address.replace("//", f"//{user}@") if user else before.address
    return open_registry(settings.model_copy(update={"registry": uri}))


def names(registry: Registry) -> list[str]:
    return [version.name for version in registry.versions()]


def champion_of(sighting: Sighting) -> str:
    return sighting.champion.version if sighting.champion else ""


def test_what_one_host_registers_another_fetches(
    registry: Registry,
    settings: Settings,
    bundles: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (elsewhere := tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(elsewhere)
    (report := tmp_path / "report.json").write_text('{"decision": "promoted"}')
    own = registry.register(
        bundles[0], metrics={"gate": {"news/topic": 0.5}}, tags={"a": "b"}, report_files=[report]
    )
    registry.promote(own)
    other = open_registry(settings.model_copy(update={"home": tmp_path / "other"}))
    assert names(other) == [SHIPPED, own.name]
    found = other.find(CHAMPION)
    assert (found.name, found.tags["a"], other.find(PREVIOUS).name) == (own.name, "b", SHIPPED)
    assert other.manifest(found) == Bundle.open(bundles[0]).manifest
    assert other.report(found) == {"decision": "promoted"}
    assert other.register(bundles[0]).number == own.number
    assert other.rollback().name == SHIPPED
    for version in other.versions():
        assert Bundle.open(other.fetch(version, tmp_path / "cache")).version == version.name
    assert list(elsewhere.iterdir()) == []
    assert not settings.home.exists()
    assert capsys.readouterr().out == ""
    shown = subprocess.run(
        [sys.executable, "-m", "stream", "models", "show", own.name[:6], "--json"],
        env=os.environ
        | {"PYTHONPATH": str(CHECKOUT), "BELLWETHER_REGISTRY": settings.tracking}
        | {"BELLWETHER_NAMESPACE": settings.namespace},
        cwd=elsewhere,
        capture_output=True,
        text=True,
        check=True,
    )
    described = json.loads(shown.stdout)
    assert (described["aliases"], described["report"]) == (["previous"], {"decision": "promoted"})


def test_files_that_are_damaged_on_the_server_are_refused(
    server: Mlflow, registry: Registry, bundles: list[Path], tmp_path: Path
) -> None:
    version = registry.register(bundles[0])
    (graph,) = (path for path in server.files.rglob("stage-1.onnx") if version.run_id in str(path))
    graph.write_bytes(graph.read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"stage-1\.onnx"):
        registry.fetch(version, tmp_path / "cache")
    graph.unlink()
    with pytest.raises(BundleError, match=r"stage-1\.onnx"):
        registry.fetch(version, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_file_broken_off_half_way_leaves_nothing(
    before: Proxy, registry: Registry, settings: Settings, bundles: list[Path], tmp_path: Path
) -> None:
    broken = through(before, settings)
    before.cut = "stage-1.onnx"
    with pytest.raises(ConfigurationError, match="Cannot use the MLflow store"):
        broken.register(bundles[0])
    assert registry.versions() == []
    version = registry.register(bundles[0])
    with pytest.raises(BundleError, match="Connection broken"):
        broken.fetch(version, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    before.cut = "nothing"
    assert broken.fetch(version, tmp_path / "cache").name == version.name


def test_a_store_that_takes_its_time_for_a_file_gets_it(
    before: Proxy,
    settings: Settings,
    bundles: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("models.tracking.ANSWER_SECONDS", 1)
    slow = through(before, settings)
    before.slow = "stage-1.onnx"
    version = slow.register(bundles[0])
    assert slow.fetch(version, tmp_path / "cache").name == version.name
    before.slow = "alias"
    with pytest.raises(ConfigurationError, match="timed out"):
        slow.alias(CHAMPION)


@pytest.mark.parametrize("status", [503, 404, 200])
def test_what_a_proxy_says_is_no_answer(before: Proxy, settings: Settings, status: int) -> None:
    before.status = status
    started = time.monotonic()
    with pytest.raises(ConfigurationError, match="Cannot use the MLflow store at") as told:
        through(before, settings).alias(CHAMPION)
    assert len(str(told.value).splitlines()) == 1
    assert time.monotonic() - started < TOLD_SECONDS


def test_credentials_come_from_the_variables_of_mlflow_or_the_address(
    before: Proxy,
    settings: Settings,
    bundles: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before.authorization = basic("ann", "secret")
    with pytest.raises(ConfigurationError, match="401") as told:
        through(before, settings, "ann:wrong").versions()
    assert "wrong" not in str(told.value)
    version = through(before, settings, "ann:secret").register(bundles[0])
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    own = through(before, settings)
    own.set_alias(CHAMPION, version)
    assert own.fetch(own.find(CHAMPION), tmp_path / "cache").name == version.name
    before.authorization = "Bearer token"
    with pytest.raises(ConfigurationError, match="401"):
        own.versions()
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "token")
    assert own.versions() == [own.find(CHAMPION)]


def test_a_run_and_its_report_stand_on_the_server(server: Mlflow, before: Proxy) -> None:
    with tracked(server.address, "incremental", {"method": "heads"}):
        log_report(server.address, {"gate": {"decision": "refused"}}, "report.json")
    client = import_module("mlflow").MlflowClient(server.address)
    run, *_ = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
    assert (run.info.status, run.data.params["method"]) == ("FINISHED", "heads")
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["report.json"]
    with pytest.raises(ConfigurationError, match="Cannot use the MLflow store"):
        fail_in_a_run(before)
    before.status = 0
    with tracked(before.address, "incremental", {}):
        assert import_module("mlflow").active_run()


def fail_in_a_run(before: Proxy) -> None:
    with tracked(before.address, "incremental", {}):
        before.status = 413  # what a proxy says of a file that is too large for it
        with pytest.raises(ConfigurationError, match="413"):
            log_report(before.address, {}, "report.json")


class Overtaken(Registry):
    """A registry where another host promotes as soon as a trainer has."""

    other: Version

    def promote(self, version: Version) -> None:
        super().promote(version)
        super().promote(self.other)


def test_of_two_trainers_one_promotes(
    registry: Registry, settings: Settings, bundles: list[Path], classifier: Classifier
) -> None:
    old, first, second = [registry.register(bundle) for bundle in bundles]
    registry.set_alias(CHAMPION, old)
    champion = Champion(Bundle.open(bundles[0]), classifier)
    trainer = Trainer(settings, "heads", print)
    assert trainer._promoted(champion, first).version == first.name
    assert "another model became the champion" in trainer._promoted(champion, second).why
    assert registry.find(CHAMPION).name == first.name
    assert registry.rollback().name == old.name
    overtaken = Overtaken(registry.uri, settings.registered_model, settings.registered_files)
    overtaken.other = first
    trainer._registry = overtaken
    assert "another model became the champion" in trainer._promoted(champion, second).why
    assert registry.find(CHAMPION).name == first.name


def test_a_server_killed_while_it_takes_a_version_breaks_nothing(
    server: Mlflow,
    registry: Registry,
    settings: Settings,
    bundles: list[Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    champion = registry.register(bundles[0])
    registry.set_alias(CHAMPION, champion)
    watch = Watch(open_registry(settings), settings.fetched_models)
    assert champion_of(watch.look()) == champion.name
    uploads = set(server.files.rglob("manifest.json"))

    def kill() -> None:
        while set(server.files.rglob("manifest.json")) == uploads:
            time.sleep(0.001)
        server.kill()

    killer = Thread(target=kill)
    killer.start()
    with pytest.raises(ConfigurationError, match="Cannot use the MLflow store"):
        registry.register(bundles[1])
    killer.join()
    started = time.monotonic()
    seen = watch.look()
    assert (seen.looked, seen.up, champion_of(seen)) == (True, False, champion.name)
    assert time.monotonic() - started < TOLD_SECONDS
    fresh = Watch(open_registry(settings), settings.home / "fresh").look()
    assert (fresh.looked, fresh.up) == (False, False)
    server.start()
    server.wait_ready()
    assert names(registry) == [champion.name]
    warned = [record.name for record in caplog.records if record.levelno >= logging.WARNING]
    assert warned == ["stream.watcher", "stream.watcher"]
    with caplog.at_level(logging.INFO, "stream.watcher"):
        assert watch.look().up
    assert caplog.messages[-1] == "the registry answers again"
    registry.promote(registry.register(bundles[1]))
    assert champion_of(watch.look()) == Bundle.open(bundles[1]).version


def test_a_server_that_goes_away_in_a_download_is_away_and_its_files_are_not_to_blame(
    before: Proxy, settings: Settings, bundles: list[Path], registry: Registry
) -> None:
    registry.set_alias(CHAMPION, registry.register(bundles[0]))
    watch = Watch(through(before, settings), settings.fetched_models)
    champion = watch._registry.alias(CHAMPION)
    assert champion
    before.status = 502
    with pytest.raises(ConfigurationError, match="Cannot use the MLflow store"):
        watch._registry.fetch(champion, settings.fetched_models)
    seen = watch.look()
    assert (seen.looked, seen.up, seen.refused) == (False, False, 0)
    before.status = 0
    assert champion_of(watch.look()) == champion.name
