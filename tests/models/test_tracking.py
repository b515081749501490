"""A run of training stands in MLflow with its settings and figures."""

from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path

import pytest

from models.tracking import EXPERIMENT, connect
from models.training import train
from schemas.errors import ConfigurationError


def test_a_run_is_kept_with_settings_figures_and_version(
    data: Path, encoder: Path, tmp_path: Path
) -> None:
    uri = f"sqlite:///{tmp_path / 'runs.db'}"
    sealed = train(data, tmp_path / "out", encoder=encoder, tracking=uri, report=lambda _: None)
    assert sealed is not None
    client = import_module("mlflow").MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "heads"
    assert run.info.status == "FINISHED"
    assert run.data.params["window_tokens"] == "256"
    assert run.data.tags["bundle"] == sealed.version
    expected = sealed.metrics["news.topic"]["twitter_fin_topic"]["accuracy"]
    assert run.data.metrics["news.topic.twitter_fin_topic.accuracy"] == expected


def test_a_store_that_is_away_is_told(data: Path, encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="Cannot use the MLflow store at http://127"):
        train(
            data, tmp_path / "out", encoder=encoder, tracking="http://127.0.0.1:9",
            report=lambda _: None,
        )  # fmt: skip
    assert not (tmp_path / "out").exists()


def opened(uri: str) -> int:
    return len(connect(uri).search_registered_models())


def test_processes_open_a_new_store_at_once(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'home' / 'registry.db'}"
    with ProcessPoolExecutor(3, get_context("spawn")) as pool:
        assert list(pool.map(opened, [uri] * 3)) == [0] * 3
