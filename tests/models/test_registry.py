"""The registry on a real SQLite store: versions, aliases, files, and what a kill leaves behind."""

import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path

import pytest

from models.bundle import SHIPPED_BUNDLE, Bundle
from models.registry import Registry
from models.tracking import sqlite_uri
from models.versions import CANDIDATE, CHAMPION, PREVIOUS
from schemas.errors import BellwetherError, BundleError, ConfigurationError
from tests.models.small_bundle import another_bundle

NAME = "test-bellwether"
SHIPPED = Bundle.open(SHIPPED_BUNDLE).version
KILLED = """
import os, signal, sys
from pathlib import Path
from models.registry import Registry

class Killed(Registry):
    def set_alias(self, alias, version):
        if alias == sys.argv[4]:
            os.kill(os.getpid(), signal.SIGKILL)
        super().set_alias(alias, version)

registry = Killed(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
if sys.argv[5] == "rollback":
    registry.rollback()
else:
    registry.promote(registry.find(sys.argv[5]))
"""


def registry_in(home: Path) -> Registry:
    return Registry(sqlite_uri(home / "registry.db"), NAME, home / "registry")


@pytest.fixture(scope="module")
def bundles(small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("versions")
    return [another_bundle(small_bundle, folder / str(seed), seed) for seed in (11, 12, 13)]


@pytest.fixture(scope="module")
def filled(bundles: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a registry of three versions, the first of them champion; no test changes it."""
    home = tmp_path_factory.mktemp("home")
    registry = registry_in(home)
    for bundle in bundles:
        registry.register(bundle)
    registry.promote(registry.find(version_of(bundles[0])))
    return home


@pytest.fixture
def registry(filled: Path, tmp_path: Path) -> Registry:
    """A registry of its own with the same versions; the files are shared."""
    shutil.copy(filled / "registry.db", tmp_path)
    return registry_in(tmp_path)


@pytest.fixture
def names(bundles: list[Path]) -> list[str]:
    return [version_of(bundle) for bundle in bundles]


def version_of(bundle: Path) -> str:
    return Bundle.open(bundle).version


def aliases(registry: Registry) -> dict[str, str]:
    return {
        alias: version.name
        for alias in (CHAMPION, CANDIDATE, PREVIOUS)
        if (version := registry.alias(alias))
    }


def test_nothing_is_made_by_reading(tmp_path: Path) -> None:
    registry = registry_in(tmp_path)
    assert registry.versions() == []
    assert registry.alias(CHAMPION) is None
    with pytest.raises(BellwetherError, match="There is no champion"):
        registry.find(CHAMPION)
    with pytest.raises(BellwetherError, match="there are: none"):
        registry.find("0123456789ab")
    assert list(tmp_path.iterdir()) == []


def test_a_version_has_its_files_figures_and_tags(
    bundles: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere, home = tmp_path / "elsewhere", tmp_path / "a home"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    registry, report = registry_in(home), tmp_path / "report.json"
    report.write_text('{"decision": "promoted"}')
    added = registry.register(
        bundles[0],
        metrics={"golden": {"news topic": 0.5}},
        tags={"decision": "promoted"},
        report_files=[report],
    )
    assert added.name == version_of(bundles[0])
    assert (added.decision, added.aliases, added.parent) == ("promoted", (), None)
    assert 0 < added.figures["news.topic"]["accuracy"] <= 1
    assert registry.report(added) == {"decision": "promoted"}
    assert registry.manifest(added) == Bundle.open(bundles[0]).manifest
    run = import_module("mlflow").MlflowClient(registry.uri).get_run(added.run_id)
    assert run.data.metrics["golden.news-topic"] == 0.5
    assert run.info.status == "FINISHED"
    assert list(elsewhere.iterdir()) == []
    assert list((home / "registry").rglob("stage-1.onnx"))


@pytest.mark.parametrize("folder", ["what?", "a%20b", "?x=%3F&y#z", "100%"])
def test_any_folder_may_be_home(bundles: list[Path], tmp_path: Path, folder: str) -> None:
    home = tmp_path / folder
    registry = registry_in(home)
    registry.register(bundles[0])
    assert (home / "registry.db").stat().st_size
    assert list((home / "registry").rglob("stage-1.onnx"))
    assert sorted(tmp_path.iterdir()) == [home]
    again = registry_in(home)
    assert again.may_exist
    assert [version.name for version in again.versions()] == [version_of(bundles[0])]


def test_a_bundle_is_registered_once(registry: Registry, bundles: list[Path]) -> None:
    before = registry.versions()
    again = registry.register(bundles[1], tags={"decision": "refused"})
    assert again.number == next(v.number for v in before if v.name == again.name)
    assert registry.find(again.name).decision == "refused"
    assert len(registry.versions()) == len(before)


def test_a_broken_bundle_is_not_registered(registry: Registry, bundles: list[Path]) -> None:
    broken = shutil.copytree(bundles[0], Path(registry.uri.removeprefix("sqlite:///")).parent / "b")
    (broken / "taxonomy.yaml").write_text("nothing")
    before = registry.versions()
    with pytest.raises(BundleError, match="SHA-256"):
        registry.register(broken)
    assert registry.versions() == before


def test_versions_are_found_by_alias_and_first_digits(registry: Registry, names: list[str]) -> None:
    assert registry.find(names[2]).name == names[2]
    assert registry.find(names[2][:6]).name == names[2]
    assert registry.find("champion").name == names[0]
    with pytest.raises(BellwetherError, match="There is no version"):
        registry.find(names[2][:3])
    with pytest.raises(BellwetherError, match="There is no candidate"):
        registry.find("candidate")
    assert [v.name for v in registry.versions()] == [SHIPPED, *reversed(names)]


def test_promotion_and_the_way_back(registry: Registry, names: list[str]) -> None:
    assert aliases(registry) == {CHAMPION: names[0], PREVIOUS: SHIPPED}
    registry.set_alias(CANDIDATE, registry.find(names[1]))
    registry.promote(registry.find(CANDIDATE))
    assert aliases(registry) == {CHAMPION: names[1], PREVIOUS: names[0], CANDIDATE: names[1]}
    assert registry.find(names[1]).aliases == (CHAMPION, CANDIDATE)
    registry.promote(registry.find(names[1]))
    assert aliases(registry)[PREVIOUS] == names[0]
    assert registry.rollback().name == names[0]
    assert (aliases(registry)[CHAMPION], aliases(registry)[PREVIOUS]) == (names[0], names[1])
    assert registry.find(CHAMPION).rolled_back == names[1]
    registry.promote(registry.find(names[1]))
    assert registry.find(CHAMPION).rolled_back is None


def test_there_is_nothing_to_go_back_to(tmp_path: Path) -> None:
    registry = registry_in(tmp_path)
    with pytest.raises(BellwetherError, match="no previous"):
        registry.rollback()
    registry.promote(registry.register(SHIPPED_BUNDLE))
    assert aliases(registry) == {CHAMPION: SHIPPED}
    with pytest.raises(BellwetherError, match="no previous"):
        registry.rollback()


def killed(registry: Registry, at: str, what: str) -> None:
    """A process of its own does it, and is killed -9 as it comes to write that alias."""
    place = str(Path(registry.uri.removeprefix("sqlite:///")).parent / "registry")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, registry.uri, NAME, place, at, what],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_a_promotion_killed_before_it_counts_changes_nothing(
    registry: Registry, names: list[str]
) -> None:
    before = aliases(registry)
    killed(registry, CHAMPION, names[1])
    assert aliases(registry) == before
    registry.promote(registry.find(names[2]))
    assert aliases(registry) == {CHAMPION: names[2], PREVIOUS: names[0]}


@pytest.mark.parametrize("mended_by", ["promote", "rollback", "another"])
def test_a_promotion_killed_after_it_counts_is_completed(
    registry: Registry, names: list[str], mended_by: str
) -> None:
    killed(registry, PREVIOUS, names[1])
    assert aliases(registry) == {CHAMPION: names[1], PREVIOUS: SHIPPED}
    if mended_by == "promote":
        registry.promote(registry.find(names[1]))
        assert aliases(registry) == {CHAMPION: names[1], PREVIOUS: names[0]}
    elif mended_by == "rollback":
        assert registry.rollback().name == names[0]
        assert aliases(registry) == {CHAMPION: names[0], PREVIOUS: names[1]}
    else:
        registry.promote(registry.find(names[2]))
        assert aliases(registry) == {CHAMPION: names[2], PREVIOUS: names[1]}


def test_a_rollback_killed_half_way_is_not_undone_by_the_next(
    registry: Registry, names: list[str]
) -> None:
    registry.promote(registry.find(names[1]))
    killed(registry, PREVIOUS, "rollback")
    assert aliases(registry)[CHAMPION] == names[0]
    assert registry.rollback().name == names[0]
    assert aliases(registry) == {CHAMPION: names[0], PREVIOUS: names[1]}


def test_a_promotion_of_the_previous_version_killed_half_way_is_rolled_back(
    registry: Registry, names: list[str]
) -> None:
    registry.promote(registry.find(names[1]))
    registry.rollback()
    killed(registry, PREVIOUS, names[1])
    assert aliases(registry) == {CHAMPION: names[1], PREVIOUS: names[1]}
    assert registry.rollback().name == names[0]
    assert aliases(registry) == {CHAMPION: names[0], PREVIOUS: names[1]}


def test_a_fetched_bundle_is_whole_and_fetched_once(
    registry: Registry, names: list[str], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    place = registry.fetch(registry.find(names[1]), cache)
    assert place == cache / names[1]
    assert Bundle.open(place).version == names[1]
    (place / "mine").touch()
    registry.fetch(registry.find(names[1]), cache)
    assert (place / "mine").exists()
    (place / "tokenizer.json").write_text("{}")
    registry.fetch(registry.find(names[1]), cache)
    assert not (place / "mine").exists()
    assert [folder.name for folder in cache.iterdir()] == [names[1]]


def test_the_last_bundles_are_kept(registry: Registry, names: list[str], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for number in range(7):
        (cache / str(number)).mkdir(parents=True)
        time.sleep(0.02)
    (cache / ".fetching-now").mkdir()
    registry.fetch(registry.find(names[0]), cache)
    left = {folder.name for folder in cache.iterdir()}
    assert left == {"3", "4", "5", "6", ".fetching-now", names[0]}


@pytest.mark.parametrize("damage", ["changed", "absent"])
def test_damaged_files_are_refused(bundles: list[Path], tmp_path: Path, damage: str) -> None:
    registry = registry_in(tmp_path)
    version = registry.register(bundles[0])
    (graph,) = (tmp_path / "registry").rglob("stage-1.onnx")
    if damage == "changed":
        graph.write_bytes(graph.read_bytes()[:-1])
    else:
        shutil.rmtree(graph.parent)
    with pytest.raises(BundleError):
        registry.fetch(version, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def fetch(home: Path, name: str) -> str:
    registry = registry_in(home)
    return Bundle.open(registry.fetch(registry.find(name), home / "cache")).version


def test_two_processes_fetch_at_once(registry: Registry, names: list[str], tmp_path: Path) -> None:
    (tmp_path / "cache" / names[2]).mkdir(parents=True)  # left by something that failed
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        found = list(pool.map(fetch, [tmp_path] * 4, [names[2]] * 4))
    assert found == [names[2]] * 4
    assert [folder.name for folder in (tmp_path / "cache").iterdir()] == [names[2]]


@pytest.mark.parametrize("uri", ["http://me:secret@127.0.0.1:9", "sqlite:////dev/null/x.db", "no:"])
def test_a_store_that_is_away_is_told_at_once(
    uri: str, bundles: list[Path], tmp_path: Path
) -> None:
    started = time.monotonic()
    with pytest.raises(ConfigurationError, match="Cannot use the MLflow store at") as told:
        Registry(uri, NAME, tmp_path).register(bundles[0])
    assert "secret" not in str(told.value)
    assert len(str(told.value).splitlines()) == 1
    assert time.monotonic() - started < 20


def test_an_alias_of_somebody_elses_version_is_told(registry: Registry) -> None:
    client = import_module("mlflow").MlflowClient(registry.uri, registry.uri)
    number = client.create_model_version(NAME, "s3://elsewhere/model").version
    client.set_registered_model_alias(NAME, CHAMPION, number)
    with pytest.raises(ConfigurationError, match="no bundle of Bellwether"):
        registry.alias(CHAMPION)
    assert number not in [version.number for version in registry.versions()]


def test_importing_the_registry_does_not_import_mlflow() -> None:
    program = "import sys, models.registry; print({'mlflow', 'sqlalchemy'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
